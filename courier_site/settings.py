"""All settings, read once from the environment. With none set, Courier runs on a laptop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy

from courier_site import navigation, secret_files
from lib.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent


class Environment(environ.FileAwareEnv):
    """The environment, where NAME may also be given as NAME_FILE. Complains in a sentence."""

    def get_value(self, var: str, *args: Any, **fields: Any) -> Any:
        try:
            return super().get_value(var, *args, **fields)
        except ValueError:
            # Its own words would quote the value, which may be a secret.
            raise ImproperlyConfigured(f"{var} is malformed.") from None


env = Environment()

#: True where real users are served: secrets must then be given and are never made up.
PRODUCTION: bool = env.bool("COURIER_PRODUCTION", default=False)
DATA_DIR = Path(env.str("COURIER_DATA_DIR", default=str(BASE_DIR / "var"))).resolve()


def secret(name: str) -> str:
    """The secret from NAME, the file that NAME_FILE names, or (on a laptop) the data directory."""
    value: str = env.str(name, default="").strip()
    if value:
        return value
    if PRODUCTION:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE: in production it has no default.")
    return secret_files.read_or_make(DATA_DIR / "secrets" / name.lower())


SECRET_KEY = secret("SECRET_KEY")
DEBUG = env.bool("COURIER_DEBUG", default=False)
ALLOWED_HOSTS = env.list("COURIER_ALLOWED_HOSTS", default=["*"])
CSRF_TRUSTED_ORIGINS = env.list("COURIER_CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # its default config would replace Courier's admin site
    "unfold.contrib.filters",
    "courier_site.apps.CourierAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "courier_site",
    "registry",
    "accounts",
    "usage",
    "gateway",
]
MIDDLEWARE = [
    "servestatic.middleware.ServeStaticMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "courier_site.middleware.PrivatePages",
    "courier_site.middleware.DatabaseAway",
]
ROOT_URLCONF = "courier_site.urls"
ASGI_APPLICATION = "courier_site.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DATABASE_URL: str = env.str("DATABASE_URL", default="")
DATABASES: dict[str, Any] = {
    "default": env.db_url_config(DATABASE_URL or f"sqlite:///{DATA_DIR / 'courier.sqlite3'}")
}
ON_POSTGRESQL = "postgresql" in DATABASES["default"]["ENGINE"]
#: A role that can only add to the ledger. Usage is then written through it.
LEDGER_DATABASE_URL: str = env.str("COURIER_LEDGER_DATABASE_URL", default="")
LEDGER_DATABASE = "ledger" if LEDGER_DATABASE_URL else "default"
if LEDGER_DATABASE_URL:
    DATABASES["ledger"] = env.db_url_config(LEDGER_DATABASE_URL)


def on_postgresql(database: dict[str, Any], *, connections: int) -> None:
    """Complete the description of a PostgreSQL database."""
    # Under ASGI a connection kept per thread is never returned: pool instead of CONN_MAX_AGE.
    database["CONN_MAX_AGE"] = 0
    # A server that was restarted has ended all connections of the pool: nobody is given one.
    database["CONN_HEALTH_CHECKS"] = True
    database["OPTIONS"] = {
        **database.get("OPTIONS", {}),
        "connect_timeout": 5,
        # A server that vanishes without a word is noticed in half a minute, not in hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        # The pool's own patience would be longer the longer the server was away: minutes at last.
        "pool": {"min_size": 0, "max_size": connections, "timeout": 2, "reconnect_timeout": 0.5},
    }


if ON_POSTGRESQL:
    on_postgresql(DATABASES["default"], connections=env.int("COURIER_DB_POOL", default=10))
    if LEDGER_DATABASE_URL:
        on_postgresql(DATABASES["ledger"], connections=2)
else:
    # IMMEDIATE and WAL: without them concurrent writers fail at once with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
# SQLite cannot hold two constraints in the database; the models check them on every save.
SILENCED_SYSTEM_CHECKS = ["models.W047"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL: str = env.str("REDIS_URL", default="")
if REDIS_URL:
    CACHES: dict[str, Any] = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "courier:cache",
        }
    }

EMAIL_URL: str = env.str("EMAIL_URL", default="")


def mail_server() -> dict[str, Any]:
    """Django's settings for sending mail. Without a server, none is sent."""
    if not EMAIL_URL:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    try:
        told: dict[str, Any] = env.email_url_config(EMAIL_URL)
    except (ImproperlyConfigured, ValueError):
        # Its own words may quote the password.
        raise ImproperlyConfigured(
            "EMAIL_URL is malformed. Write smtp+tls://user:password@host:587, and special "
            "characters of the password as %XX."
        ) from None
    return told


vars().update(mail_server())
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env.str("COURIER_EMAIL_FROM", default="courier@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["courier_site.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("COURIER_STATIC_ROOT", default=str(BASE_DIR / "static_root")))
SERVESTATIC_USE_FINDERS = not PRODUCTION
SERVESTATIC_AUTOREFRESH = False

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
COURIER_HTTPS = env.bool("COURIER_HTTPS", default=False)
SESSION_COOKIE_SECURE = COURIER_HTTPS
CSRF_COOKIE_SECURE = COURIER_HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if COURIER_HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if COURIER_HTTPS else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LOGGING = logging_config(level=env.str("COURIER_LOG_LEVEL", default="INFO"), as_json=PRODUCTION)

UNFOLD = navigation.UNFOLD

# Courier's own settings.

COURIER_ROLE: str = env.str("COURIER_ROLE", default="all")
COURIER_HOST: str = env.str("HOST", default="127.0.0.1")
COURIER_PORT: int = env.int("PORT", default=8000)
#: Server processes that share the port.
COURIER_WORKERS: int = env.int("COURIER_WORKERS", default=1)
#: Applied at every start, instead of the demonstration at the first.
COURIER_MANIFEST: str = env.str("COURIER_MANIFEST", default="")
#: The first administrator, made if there is none.
COURIER_ADMIN_USERNAME: str = env.str("COURIER_ADMIN_USERNAME", default="admin")
COURIER_ADMIN_PASSWORD: str = env.str("COURIER_ADMIN_PASSWORD", default="").strip()
COURIER_DEMO_KEY: str = env.str("COURIER_DEMO_KEY", default="").strip()
COURIER_ENCRYPTION_KEYS: list[str] = [
    key.strip() for key in secret("COURIER_ENCRYPTION_KEYS").split(",") if key.strip()
]
COURIER_KEY_PEPPER: str = secret("COURIER_KEY_PEPPER")
PRIVATE_NETWORKS = [
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
]


def private_upstreams() -> list[str]:
    """Networks that upstreams may be in although they are private: none, unless on a laptop."""
    named: str = env.str("COURIER_ALLOW_PRIVATE_UPSTREAMS", default="off" if PRODUCTION else "on")
    match named.strip().lower():
        case "" | "off" | "false" | "no" | "0":
            return []
        case "on" | "true" | "yes" | "1":
            return PRIVATE_NETWORKS
        case networks:
            return [network.strip() for network in networks.split(",") if network.strip()]


COURIER_ALLOW_PRIVATE_UPSTREAMS = private_upstreams()
#: Whether alerts may be sent to URLs that begin with http://.
COURIER_WEBHOOKS_OVER_HTTP: bool = env.bool("COURIER_WEBHOOKS_OVER_HTTP", default=not PRODUCTION)
#: More addresses for alerts about the whole installation, beyond those of the administrators.
COURIER_ALERT_EMAILS: list[str] = env.list("COURIER_ALERT_EMAILS", default=[])
#: Where people open the admin, such as https://courier.example.com: messages link to it.
COURIER_PUBLIC_URL: str = env.str("COURIER_PUBLIC_URL", default="").rstrip("/")
#: An hour is unusual if it cost so many times the usual one, and at least so many dollars.
COURIER_SLOPE_FACTOR: float = env.float("COURIER_SLOPE_FACTOR", default=8)
COURIER_SLOPE_MINIMUM: float = env.float("COURIER_SLOPE_MINIMUM", default=1)
#: Proxies that are believed who asks, and whether by HTTPS: networks.
COURIER_TRUSTED_PROXIES: list[str] = env.list(
    "COURIER_TRUSTED_PROXIES", default=["127.0.0.0/8", "::1/128"]
)
#: Whether a prepared change is approved by somebody else than who made it.
COURIER_SECOND_APPROVER: bool = env.bool("COURIER_SECOND_APPROVER", default=False)
#: What answers tell of themselves in headers that begin with x-courier-.
COURIER_HEADERS: list[str] = env.list(
    "COURIER_HEADERS",
    default=[
        "attempts", "cost", "dropped-params", "hold", "model-served", "overhead-ms", "revision",
    ],
)  # fmt: skip
COURIER_CORS_ORIGINS: list[str] = env.list("COURIER_CORS_ORIGINS", default=[])
#: Connections of a server process, 0: as many as it may have files open; and of one address
#: that is no proxy's, 0: any number.
COURIER_MAX_CONNECTIONS: int = env.int("COURIER_MAX_CONNECTIONS", default=0)
COURIER_MAX_CONNECTIONS_PER_ADDRESS: int = env.int("COURIER_MAX_CONNECTIONS_PER_ADDRESS", default=0)
#: Requests that a server process serves at the same time.
COURIER_MAX_OPEN_REQUESTS: int = env.int("COURIER_MAX_OPEN_REQUESTS", default=4000)
#: Bytes of a request body, and of a whole upstream answer.
COURIER_MAX_BODY: int = env.int("COURIER_MAX_BODY", default=10 * 1024 * 1024)
#: Answers to one question, and messages of one conversation, that a request may ask for and hold.
COURIER_MAX_CHOICES: int = env.int("COURIER_MAX_CHOICES", default=8)
COURIER_MAX_MESSAGES: int = env.int("COURIER_MAX_MESSAGES", default=10_000)
#: Bytes of a form with its files.
COURIER_MAX_UPLOAD: int = env.int("COURIER_MAX_UPLOAD", default=100 * 1024 * 1024)
COURIER_MAX_ANSWER: int = env.int("COURIER_MAX_ANSWER", default=32 * 1024 * 1024)
#: Seconds: until the first byte of an answer over all attempts; of silence before a comment.
COURIER_FIRST_BYTE_DEADLINE_S: float = env.float("COURIER_FIRST_BYTE_DEADLINE", default=60)
COURIER_KEEP_ALIVE_S: float = env.float("COURIER_KEEP_ALIVE", default=15)
#: What becomes of a request whose price is unknown: "refuse", or "allow", which marks it.
COURIER_UNPRICED: str = env.str("COURIER_UNPRICED", default="refuse").strip().lower()
#: What is kept for a request that is sent again: "off", "digest", "memory" or "shared".
COURIER_IDEMPOTENCY: str = env.str("COURIER_IDEMPOTENCY", default="memory").strip().lower()
#: Whether what was certified before is certified again every night, which costs a little.
COURIER_CERTIFY_NIGHTLY: bool = env.bool("COURIER_CERTIFY_NIGHTLY", default=False)
#: Seconds until Redis counts as away. Short, for every request waits for it.
COURIER_REDIS_DEADLINE_S: float = env.float("COURIER_REDIS_DEADLINE", default=0.075)
#: Whether Redis may evict keys although it then forgets limits.
COURIER_REDIS_MAY_EVICT: bool = env.bool("COURIER_REDIS_MAY_EVICT", default=False)
#: What a scrape of /metrics has to show. Empty: there is no /metrics.
COURIER_METRICS_TOKEN: str = env.str("COURIER_METRICS_TOKEN", default="").strip()
#: Seconds after SIGTERM in which new requests are still answered, so that a balancer that asks
#: for readiness has stopped sending them when the listener closes.
COURIER_STOP_DELAY_S: float = env.float("COURIER_STOP_DELAY", default=0)
#: Seconds that open streams get after that.
COURIER_DRAIN_S: float = env.float("COURIER_DRAIN", default=30)
#: Seconds that PostgreSQL may work on one statement of a page of the admin; 0: any number.
COURIER_PAGE_TIMEOUT_S: float = env.float("COURIER_PAGE_TIMEOUT", default=15)
SPOOL_DIR = DATA_DIR / "spool"
#: Uploads that have to be kept before they can be sent are here, in files without a name.
UPLOAD_DIR = DATA_DIR / "uploads"
#: Different tags that a team may have. What comes beyond is recorded as `~other`.
COURIER_TEAM_TAGS: int = env.int("COURIER_TEAM_TAGS", default=1000)
#: Days that each is kept; 0: for good. Sums per day are kept for good.
COURIER_KEEP_RECORDS_DAYS: int = env.int("COURIER_KEEP_RECORDS_DAYS", default=0)
COURIER_KEEP_ROLLUPS_DAYS: int = env.int("COURIER_KEEP_ROLLUPS_DAYS", default=0)
#: Why each request went as it did is kept for so many days; 0: as long as the log.
COURIER_KEEP_DECISIONS_DAYS: int = env.int("COURIER_KEEP_DECISIONS_DAYS", default=30)
COURIER_KEEP_EXPORTS_DAYS: int = env.int("COURIER_KEEP_EXPORTS_DAYS", default=30)
#: Days that the whole configuration of a revision is kept; what it changed is kept for good.
COURIER_KEEP_REVISIONS_DAYS: int = env.int("COURIER_KEEP_REVISIONS_DAYS", default=400)
DATA_UPLOAD_MAX_MEMORY_SIZE = COURIER_MAX_BODY
