#!/bin/sh
# Migrates Temporal's two databases to the schema of this image's version. SQL_PASSWORD has the password.
set -eu

for database in temporal temporal_visibility; do
  tool="temporal-sql-tool --plugin postgres12 --endpoint postgres --port 5432 --user temporal --database $database"
  folder=${database#temporal_}
  $tool setup-schema --version 0.0 # makes the table of versions when it does not exist
  $tool update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$folder/versioned"
done
