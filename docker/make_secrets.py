"""Makes the secrets of an installation on its first start. Never replaces one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from courier_site.secret_files import read_or_make  # noqa: E402  # found by the line above

SECRETS = Path("/secrets")
#: Of its own, because PostgreSQL reads it as another user and must see no other secret.
DATABASE_SECRET = Path("/database-secret")

for name in ("secret_key", "encryption_keys", "key_pepper", "admin_password"):
    read_or_make(SECRETS / name)
read_or_make(SECRETS / "demo_key", "sk-demo-")
password = read_or_make(DATABASE_SECRET / "password")
(DATABASE_SECRET / "password").chmod(0o444)
serving_password = read_or_make(SECRETS / "serving_database_password")


def write_url(name: str, role: str, password: str) -> None:
    url = SECRETS / name
    if not url.exists():
        url.touch(0o600)
        url.write_text(f"postgres://{role}:{password}@postgres:5432/courier")


write_url("database_url", "courier", password)
# Of a role that can add to the ledger but not change it.
write_url("serving_database_url", "courier_serving", serving_password)
print("The secrets are in place.")
