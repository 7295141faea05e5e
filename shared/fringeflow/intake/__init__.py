"""What the user puts into the bucket: inputs, key files, and the notices about them."""
