package gatewayd

// Example is a configuration to begin with: every key that most gateways need, and what
// the others are when they are left out.
const Example = `# A gateway: it ends TLS, chooses a next hop by host and path, and passes every byte
# on unchanged. Paths start at the directory of this file. Checked by:
#   gateway -config FILE -check
hop: gateway                        # its name in evidence
listen: 0.0.0.0:443
tls:                                # chosen by the name, or address, that a client dials
  - cert: tls/fhir.example.org.pem  # the leaf first
    key: tls/fhir.example.org.key   # not readable by others
# proxy: [10.0.0.6]                 # gateways before this one, that name the client's address
admin:
  listen: 127.0.0.1:9470            # /health, /ready and /metrics; loopback only
  # health: 0.0.0.0:9471            # /health and /ready alone, for a load balancer or a container
log: text                           # or json
evidence:
  file: gateway.jsonl
  sync: interval                    # none, interval or each
  rotate: 100000000                 # bytes
  onFailure: refuse                 # or pass
routes:
  - name: acme
    hosts: [fhir.example.org]       # as clients write it: with the port, unless that is 443
    prefixes: [/acme, /.well-known/oauth-authorization-server/acme]
    next: https://destination.internal.example.org
    dial: 10.0.0.7:9443             # left out: the host of next; or several:
    # dial: [10.0.0.7:9443, 10.0.0.8:9443]   # each new client to the one with the fewest
    ca: tls/private-ca.pem          # left out: the system's
    # cert: tls/client.pem          # a client certificate for the next hop
    # key: tls/client.key
timeouts:                           # these are the defaults
  handshake: 10s
  head: 10s
  idle: 60s                         # below the next hop's
  body: 30s
  connect: 10s
  retry: 10s                        # of an address of several that did not accept, doubling to 1m
  firstByte: 60s
  stall: 10m
  write: 60s
  drain: 30s
limits:                             # one client must not take the service from the others
  memory: 268435456                 # bytes, the default; connections follows from it
  connectionsPerAddress: 200        # none by default; more where many come from one address
  requestsPerSecond: 100            # of one address, none by default; those beyond wait
  burst: 200
  bodyRate: 100                     # bytes a second below which a body makes no progress
  answerRate: 1000                  # bytes a second below which a client does not read
`
