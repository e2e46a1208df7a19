#!/bin/sh
# Makes the namespace "default" when it does not exist. Temporal keeps the history of a closed run for 30
# days; PostgreSQL keeps recharges and ledger without a limit.
set -eu

temporal operator namespace describe --namespace default || temporal operator namespace create --namespace default --retention 30d
