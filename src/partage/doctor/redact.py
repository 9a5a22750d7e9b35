"""Takes secrets out of text: the ones we know word for word, and whatever looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from partage.config import Config

MASK = "[redacted]"
LEAST_SECRET = 4
"""Shorter ones would mask half the text, and are no secrets anyway."""

_NAMED = r"(?:[\w.-]*(?:api[_-]?key|secret|token(?!s)|passwo?r?d|passwd|credential|authorization|cookie|webhook|notify)[\w.-]*|key)"
_PATTERNS = (
    # Authorization: Bearer abc; proxy-authorization=Basic abc
    (re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\"'\r\n,}]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{4,}"), rf"\1 {MASK}"),
    # "api_key": "abc", password=abc, PARTAGE_KEY_CHAT=abc, key: abc
    (re.compile(rf"(?i)([\"']?\b{_NAMED}[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,}}\]]+)"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:\w+_)?KEY(?:_\w+)?\s*=\s*)\S+"), rf"\1{MASK}"),
    # scheme://user:password@host, ?token=abc
    (re.compile(r"(\w[\w+.-]*://)[^\s/@\"']+@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)([?&](?:[\w-]*(?:key|token|secret|password|sig|signature))=)[^&\s\"']+"), rf"\1{MASK}"),
    # well-known shapes: OpenAI, Hugging Face, GitHub, Slack, AWS, JSON web tokens, private keys
    (
        re.compile(r"\b(?:sk|pk|rk)-[\w-]{8,}|\bhf_\w{8,}|\bgh[pousr]_\w{8,}|\bxox[a-z]-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}"),
        MASK,
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)


def secrets_of(config: Config) -> list[str]:
    """Everything in the configuration that must not leave this machine, the longest first."""
    found = [
        *(entry.key for entry in config.clients.values()),
        *(entry.key for entry in config.remotes.values()),
        *config.alerts.notify,
        config.alerts.webhook,
    ]
    return sorted({one for one in found if one and len(one) >= LEAST_SECRET}, key=len, reverse=True)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
