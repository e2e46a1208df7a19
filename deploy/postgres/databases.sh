#!/bin/sh
# The postgres image runs this once, when its volume is new. Each program gets its own owner and databases, so
# that no program can read another's data.
set -eu

database() { # owner, password, databases…
  owner=$1 password=$2
  shift 2
  psql --username=postgres --set=ON_ERROR_STOP=1 --set=owner="$owner" --set=password="$password" <<'SQL'
CREATE ROLE :"owner" LOGIN PASSWORD :'password';
SQL
  for name in "$@"; do
    psql --username=postgres --set=ON_ERROR_STOP=1 --set=owner="$owner" --set=name="$name" <<'SQL'
CREATE DATABASE :"name" OWNER :"owner";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
  done
}

database bill "$BILL_DATABASE_PASSWORD" bill
database temporal "$TEMPORAL_DATABASE_PASSWORD" temporal temporal_visibility
database litellm "$LITELLM_DATABASE_PASSWORD" litellm
