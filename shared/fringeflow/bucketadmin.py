"""Makes a bucket ready: the bucket itself, notifications to the broker, and rules that clear away what is left behind.

Everything can be done again at any time. A server without notifications is fine: workers look by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from fringeflow.errors import BugError, DataError, MissingInputError
from fringeflow.store import aws
from fringeflow.store.settings import StoreSettings

WATCHED = ("incoming", "keys", "cleanmask", "singledish", "vfield")
"""What users put: only of these the bucket tells."""

_MARK = "fringeflow"
_EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
_CLAIM_DAYS = 1
_UPLOAD_DAYS = 2


@dataclass(frozen=True)
class Push:
    """Where the S3 server sends its notices: an exchange of the broker, as the server reaches it."""

    url: str
    exchange: str


@dataclass(frozen=True)
class Readiness:
    """What is set up: topics (name to the address they push to, without credentials) and clearing rules."""

    topics: Mapping[str, str]
    rules: tuple[str, ...]


class BucketAdmin:
    """Looks after the bucket of `settings`.

    Raises
    ------
    DataError
        The store is no bucket.
    """

    def __init__(self, settings: StoreSettings) -> None:
        parts = urlsplit(settings.url)
        if parts.scheme != "s3" or not parts.netloc:
            raise DataError(
                f"{settings.url} is no bucket", remedy="set FRINGEFLOW_STORE__URL=s3://bucket or s3://bucket/prefix"
            )
        self._bucket = parts.netloc
        self._prefix = unquote(parts.path).strip("/")
        self._settings = settings
        self._place = f"bucket s3://{self._bucket}"
        self._s3 = self._client("s3")
        # of several stores in a bucket each has its own rules
        self._mark = "-".join([_MARK, *self._prefix.split("/")]).rstrip("-")

    def setup(self, push: Push | None = None, topic: str | None = None) -> Iterator[str]:
        """Do what is to be done and say it, step by step.

        Parameters
        ----------
        push
            Where a topic that is made (Ceph) sends its notices.
        topic
            ARN of a target that the server has been given in its own way, instead.
        """
        yield self._make_bucket()
        yield self._clear_away()
        arn = topic
        if push is not None and topic is None:
            arn = self._make_topic(push)
            if arn is None:
                yield (
                    f"{self._place} has no notifications to AMQP: workers find what is put by looking, every "
                    "FRINGEFLOW_POLL_SECONDS (a server with targets of its own: --topic ARN)"
                )
        if arn is not None:
            yield self._notify(arn)

    def show(self) -> Readiness:
        """Return what is set up."""
        rules = tuple(rule["ID"] for rule in self._rules() if self._is_ours(rule["ID"]))
        arns = {item["TopicArn"] for item in self._notifications() if self._is_ours(item["Id"])}
        return Readiness({arn: self._pushes_to(arn) for arn in sorted(arns)}, rules)

    def _make_bucket(self) -> str:
        with aws.answers(self._place, "the bucket"):
            try:
                self._s3.head_bucket(Bucket=self._bucket)
            except self._s3.exceptions.ClientError as error:
                if aws.code_of(error) not in ("404", "NoSuchBucket"):
                    raise
            else:
                return f"{self._place} is there"
            amazon = self._settings.endpoint is None and self._settings.region != "us-east-1"
            where = {"CreateBucketConfiguration": {"LocationConstraint": self._settings.region}} if amazon else {}
            try:
                self._s3.create_bucket(Bucket=self._bucket, **where)
            except self._s3.exceptions.BucketAlreadyOwnedByYou:
                return f"{self._place} is there"
        return f"{self._place} made"

    def _clear_away(self) -> str:
        below = f"{self._prefix}/" if self._prefix else ""
        ours = [
            _rule(f"{self._mark}-claims", f"{below}claims/", Expiration={"Days": _CLAIM_DAYS}),
            _rule(f"{self._mark}-uploads", below, AbortIncompleteMultipartUpload={"DaysAfterInitiation": _UPLOAD_DAYS}),
        ]
        others = [rule for rule in self._rules() if not self._is_ours(rule["ID"])]
        try:
            with aws.answers(self._place, "its lifecycle rules"):
                self._s3.put_bucket_lifecycle_configuration(
                    Bucket=self._bucket, LifecycleConfiguration={"Rules": [*others, *ours]}
                )
        except BugError as error:
            return f"{self._place} takes no lifecycle rules ({error.message}): unfinished uploads stay"
        return f"claims are removed after {_CLAIM_DAYS} day, unfinished uploads after {_UPLOAD_DAYS} days"

    def _make_topic(self, push: Push) -> str | None:
        attributes = {
            "push-endpoint": reachable(push.url, self._settings.endpoint),
            "amqp-exchange": push.exchange,
            "amqp-ack-level": "broker",
            "persistent": "true",  # kept by the server while the broker is away
        }
        try:
            with aws.answers(self._place, "topics"):
                made = self._client("sns").create_topic(Name=f"{self._mark}-{self._bucket}", Attributes=attributes)
        except BugError:
            return None
        return str(made["TopicArn"])

    def _notify(self, arn: str) -> str:
        below = f"{self._prefix}/" if self._prefix else ""
        others = [item for item in self._notifications() if not self._is_ours(item["Id"])]
        ours = [
            {
                "Id": f"{self._mark}-{folder}",
                "TopicArn": arn,
                "Events": list(_EVENTS),
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": f"{below}{folder}/"}]}},
            }
            for folder in WATCHED
        ]
        with aws.answers(self._place, "its notifications"):
            self._s3.put_bucket_notification_configuration(
                Bucket=self._bucket, NotificationConfiguration={"TopicConfigurations": [*others, *ours]}
            )
        return f"notices about {', '.join(WATCHED)} go to {arn}"

    def _rules(self) -> list[dict[str, Any]]:
        with aws.answers(self._place, "its lifecycle rules"):
            try:
                found = self._s3.get_bucket_lifecycle_configuration(Bucket=self._bucket)
            except self._s3.exceptions.ClientError as error:
                if aws.code_of(error) in ("NoSuchLifecycleConfiguration", "NotImplemented"):
                    return []
                raise
        return list(found.get("Rules", []))

    def _notifications(self) -> list[dict[str, Any]]:
        with aws.answers(self._place, "its notifications"):
            found = self._s3.get_bucket_notification_configuration(Bucket=self._bucket)
        return list(found.get("TopicConfigurations", []))

    def _pushes_to(self, arn: str) -> str:
        try:
            with aws.answers(self._place, "topics"):
                found = self._client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        except (BugError, MissingInputError):
            return ""
        try:
            address = json.loads(found["EndPoint"])["EndpointAddress"]  # Ceph's
        except (KeyError, TypeError, ValueError):
            address = found.get("push-endpoint", "")
        return without_credentials(str(address))

    def _is_ours(self, name: str) -> bool:
        return name in {f"{self._mark}-{what}" for what in (*WATCHED, "claims", "uploads")}

    def _client(self, service: str) -> Any:
        settings = self._settings
        return aws.client(service, endpoint=settings.endpoint, region=settings.region)


def reachable(url: str, endpoint: str | None) -> str:
    """Return the address of the broker as the S3 server is told it.

    The broker's usual guest needs no mention; other credentials may only be told over TLS. The virtual host is written
    as the AMQP URI specification has it (we also write ``//`` for the host called ``/``, which others cannot read).

    Raises
    ------
    DataError
        The credentials would cross the net in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise DataError(
            f"{without_credentials(url)} is no broker a bucket could tell", remedy="give --broker amqp://host:port"
        )
    vhost = unquote(parts.path[1:])
    url = urlunsplit(parts._replace(path="" if vhost in ("", "/") else f"/{quote(vhost, safe='')}"))
    if (parts.username or "guest", parts.password or "guest") == ("guest", "guest"):
        return without_credentials(url)
    if endpoint is not None and not endpoint.startswith("https:"):
        raise DataError(
            "the broker's password would go to the S3 server in the clear",
            remedy="use an https endpoint for the store, or a broker address without password (--broker)",
        )
    return url


def without_credentials(url: str) -> str:
    """Return `url` without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _rule(name: str, prefix: str, **action: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **action}
