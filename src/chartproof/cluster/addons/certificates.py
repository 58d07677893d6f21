"""The certificate of programs that answer the API server: the administrator's, under the names they look for.

kwokctl made it with every purpose and the names they need, signed by the authority that signs everything here.
"""

from __future__ import annotations

import base64
from pathlib import Path


def authority(directory: Path) -> str:
    """The `caBundle` by which the API server knows them; `directory` is the cluster's."""
    return base64.b64encode((directory / "pki" / "ca.crt").read_bytes()).decode()


def certificate_directory(directory: Path) -> Path:
    """Where programs find certificate, key and authority, below the cluster's directory."""
    return directory / "certificates"


def copy_certificates(directory: Path) -> None:
    """Put the administrator's certificate there."""
    target = certificate_directory(directory)
    target.mkdir(mode=0o700, exist_ok=True)
    for source, name in (("ca.crt", "ca.crt"), ("admin.crt", "tls.crt"), ("admin.key", "tls.key")):
        (target / name).unlink(missing_ok=True)
        (target / name).symlink_to(directory / "pki" / source)
