//go:build linux

package deploy

// composePreamble makes two bridges, which are the networks, and what a service is
// started with. Its argument is the directory of the test.
const composePreamble = `set -Eeuo pipefail
W=$1
cd "$W"
export PATH=$W/bin:$PATH
mount -t tmpfs tmpfs /run
mkdir -p "$W/etc/up" "$W/etc/work" "$W/vol"
mkdir "$W/over" && mount -t tmpfs tmpfs "$W/over" && mkdir "$W/over/up" "$W/over/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$W/over/up,workdir=$W/over/work" /etc
mkdir -p /etc/destination /etc/gateway
mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/destination /var/lib/gateway
ip link set lo up
for net in inside between; do
  ip link add "$net" type bridge
  ip link set "$net" up
done
ip addr add 10.77.1.1/24 dev inside
ip addr add 10.77.2.1/24 dev between
trap 'for f in "$W"/*.log; do echo "== $f"; tail -n 8 "$f"; done >&2' ERR

# host NAME NUMBER NETWORKS: a namespace with an address in each network
host() {
  local n=1
  ip netns add "$1"
  ip -n "$1" link set lo up
  for net in $3; do
    [ "$net" = inside ] && n=1 || n=2
    ip link add "v$2-$n" type veth peer name "eth$n" netns "$1"
    ip link set "v$2-$n" master "$net" up
    ip -n "$1" addr add "10.77.$n.$2/24" dev "eth$n"
    ip -n "$1" link set "eth$n" up
    echo "10.77.$n.$2 $1" >>/etc/hosts
  done
}

# inside NAME HOSTNAME MOUNTS COMMAND...: as the image's user, without capabilities
inside() {
  local name=$1 hostname=${2:-$1} mounts=$3
  local program=${4#/}
  shift 4
  mkdir -p "$W/vol/$name"
  chown 65532:65532 "$W/vol/$name"
  # ip netns exec would have a /sys of its own; the network alone is entered.
  nsenter --net="/run/netns/$name" unshare --mount --uts bash -c '
    set -e
    W=$1 name=$2
    hostname "$3"
    for m in $4; do
      case $m in
        ./*) mount --bind "$W/compose/${m%%:*}" "${m#*:}" && mount -o remount,bind,ro "${m#*:}" ;;
        *) mount --bind "$W/vol/$name" "${m#*:}" ;;
      esac
    done
    exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --bounding-set=-all "$W/bin/$5" "${@:6}"
  ' service "$W" "$name" "$hostname" "$mounts" "$program" "$@"
}

alive() { kill -0 "$(cat "$W/$1.pid")"; }

start_database() {
  local bin
  bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
  mkdir "$W/db"
  chown postgres "$W/db"
  local as="setpriv --reuid=postgres --regid=postgres --init-groups"
  cp compose/destination/password "$W/db/password"
  chown postgres "$W/db/password"
  $as "$bin/initdb" -D "$W/db/data" -U destination --pwfile="$W/db/password" -A scram-sha-256 --data-checksums \
    >"$W/initdb.log"
  echo 'host all all 10.77.0.0/16 scram-sha-256' >>"$W/db/data/pg_hba.conf"
  nsenter --net=/run/netns/db $as "$bin/postgres" -D "$W/db/data" -c listen_addresses='*' \
    -c unix_socket_directories="$W/db" >"$W/db.log" 2>&1 &
  echo $! >"$W/db.pid"
  until nsenter --net=/run/netns/db "$bin/pg_isready" -q -h 127.0.0.1 -U destination -d postgres; do
    alive db
    sleep 0.2
  done
  PGPASSWORD=$(cat compose/destination/password) nsenter --net=/run/netns/db "$bin/createdb" -h 127.0.0.1 \
    -U destination destination
}
set -x
`

// composeMaterial makes what compose.md puts beside the compose file, and serves the
// lists of the community.
const composeMaterial = `
echo 10.77.1.1 crl.example.org >>/etc/hosts
echo "$(sed -n 's/ gateway$//p' /etc/hosts) fhir.example.org" >>/etc/hosts
community init -ca trust/a -uri urn:example:community:a -name "Our community" -base http://crl.example.org:9481
community issue -ca trust/a -uri https://fhir.example.org/acme/fhir -out own
community issue -ca trust/a -uri https://client.example.org/app -out client
printf 'listen: 0.0.0.0:9481\ndir: trust\n' >community.yaml
community serve -config community.yaml >community.log 2>&1 &
cp trust/a-root.pem trust/a.pem own.pem own.key compose/destination/
echo 'correct horse battery staple' >compose/destination/password

openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=CA" -keyout ca.key -out ca.pem 2>openssl.log
for pair in destination:destination.internal delegate:delegate.internal gateway:fhir.example.org; do
  at=compose/${pair%%:*} name=${pair#*:}
  openssl req -new -newkey rsa:2048 -nodes -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
    -keyout "$at/tls.key" -out tls.csr 2>openssl.log
  openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -days 30 -copy_extensions copy -out "$at/tls.pem" 2>openssl.log
  cp ca.pem "$at/private-ca.pem"
done
(cd compose && chgrp 65532 ./*/*.key destination/password && chmod 640 ./*/*.key destination/password)
`

// composeClient is the first client, before and after a destination is killed.
const composeClient = `
ask() {
  originator "$@"
}
ask register -cert client.pem -key client.key -anchor trust/a-root.pem -tls-ca ca.pem -connect fhir.example.org:8443 \
  -community urn:example:community:a -allow http://crl.example.org:9481 -evidence originator.jsonl \
  -name 'First client' -contact mailto:ops@client.example.org -scope system/Patient.rs \
  https://fhir.example.org/acme/fhir
ask token -organization https://client.example.org/fhir/Organization/1
ask get 'Patient?_count=3' | grep -q '"resourceType":"Patient"'
kill -KILL "$(cat destination-a.pid)"
wait "$(cat destination-a.pid)" || true
ask get 'Patient?_count=3' | grep -q '"resourceType":"Patient"'
ask cancel
echo the composition is done
`
