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
url = SECRETS / "database_url"
if not url.exists():
    url.touch(0o600)
    url.write_text(f"postgres://courier:{password}@postgres:5432/courier")
print("The secrets are in place.")
