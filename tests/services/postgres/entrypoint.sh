#!/bin/sh
# Make the database once a pod, then become the server.
#
# /data     survives the container, not the pod
# /secret   holds the superuser's password
# /tls      may hold tls.crt and tls.key; TLS is offered if it does
set -eu
data=/data/postgres

if [ ! -e /data/complete ]; then
  rm -rf "$data" # what an interrupted attempt has left
  initdb --pgdata "$data" --username postgres --pwfile /secret/password \
    --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
  echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
  echo 'CREATE DATABASE app;' | postgres --single -D "$data" postgres >/dev/null
  : >/data/complete
fi

set -- -D "$data" \
  -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=100 \
  -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 \
  -c max_wal_size=4GB -c shared_buffers=128MB -c maintenance_work_mem=256MB \
  -c dynamic_shared_memory_type=mmap -c jit=off -c timezone=UTC
if [ -e /tls/tls.crt ]; then
  # The server refuses a key that others may read, and a mounted Secret may be such.
  install -m 600 /tls/tls.key /tmp/tls.key
  set -- "$@" -c ssl=on -c ssl_cert_file=/tls/tls.crt -c ssl_key_file=/tmp/tls.key
fi
exec postgres "$@"
