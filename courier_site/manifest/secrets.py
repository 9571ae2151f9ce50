"""How a manifest gives a secret: as text, from the environment, or from a file."""

from __future__ import annotations

from courier_site.manifest.document import Entry, ManifestError, Unset


def given_secret(entry: Entry) -> str | None:
    """The secret of this entry. None if it has none, or says that the stored one is kept."""
    if "secret" in entry and "secret_file" in entry:
        raise entry.error("Give either secret or secret_file, not both.", "secret_file")
    if "if_unset" in entry:
        entry.choice("if_unset", ("keep",))
    if "secret_file" in entry:
        return _from_file(entry)
    if "secret" not in entry:
        return None
    try:
        return entry.text("secret")
    except ManifestError as error:
        if "if_unset" in entry and isinstance(error.__cause__, Unset):
            return None
        raise


def _from_file(entry: Entry) -> str:
    path = entry.document.folder / entry.text("secret_file")
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        message = f"The secret file cannot be read: {reason}."
        raise entry.error(message, "secret_file") from error
    if not secret:
        raise entry.error("The secret file is empty.", "secret_file")
    return secret
