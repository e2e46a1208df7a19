#!/bin/sh
# Makes the namespace "default" unless it is there. Histories of finished recharges stay for 30 days; the ledger keeps them for good.
set -eu

temporal operator namespace describe --namespace default || temporal operator namespace create --namespace default --retention 30d
