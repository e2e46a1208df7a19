#!/bin/sh
# Run once by the postgres image, when its volume is new: a database and an owner for each program, so that none can read another's.
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
