#!/bin/sh
# Starts one role of the image: secrets, migrate, gateway, admin, worker or beat.
set -eu

await_secrets() {
  for variable in SECRET_KEY_FILE COURIER_ENCRYPTION_KEYS_FILE COURIER_KEY_PEPPER_FILE DATABASE_URL_FILE COURIER_LEDGER_DATABASE_URL_FILE; do
    eval "file=\${$variable:-}"
    waited=0
    while [ -n "$file" ] && [ ! -s "$file" ]; do
      [ "$waited" -lt 60 ] || { echo "$variable names $file, which is not there." >&2; exit 1; }
      waited=$((waited + 1))
      sleep 1
    done
  done
}

case ${1:-} in
  secrets)
    exec python docker/make_secrets.py
    ;;
  gateway | admin)
    await_secrets
    export COURIER_ROLE="$1"
    exec python -m courier_site.serve
    ;;
  migrate)
    await_secrets
    python manage.py prepare
    if [ -n "${COURIER_LEDGER_DATABASE_URL_FILE:-}" ]; then
      python manage.py ledger_role --serving
    fi
    echo "The admin's password:     docker compose exec admin cat /secrets/admin_password"
    echo "The demonstration's key:  docker compose exec admin cat /secrets/demo_key"
    ;;
  worker)
    await_secrets
    exec celery --quiet -A courier_site worker --pool threads --concurrency "${COURIER_WORKER_THREADS:-2}"
    ;;
  beat)
    await_secrets
    exec celery --quiet -A courier_site beat --pidfile=
    ;;
  *)
    exec "$@"
    ;;
esac
