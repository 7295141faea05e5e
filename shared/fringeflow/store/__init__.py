"""Where everything that lasts is kept: one small interface over a local folder or an S3 bucket.

Knows objects, archives, artefacts and manifests; must not know stages, events or the broker.
"""
