#!/bin/sh
# Starts nginx in its container, with the container's first name server: the engine's own, which knows the
# replicas and passes on what it does not know.
set -eu
server=$(awk '$1 == "nameserver" { server = ($2 ~ /:/) ? "[" $2 "]" : $2; print server; exit }' /etc/resolv.conf)
echo "resolver $server valid=1s ipv6=off;" > /tmp/resolver.conf
exec nginx -c /etc/balancer/nginx.conf -g "daemon off;"
