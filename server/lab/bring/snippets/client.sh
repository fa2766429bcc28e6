#!/usr/bin/env bash
# Needs curl and openssl, and beside it tls.pem, anchor.pem, client.pem and client.key.
set -euo pipefail
base='[[.Base]]'
community='[[.Community]]'
client='[[.Client]]'

request() { # prints the body of an answer that succeeded; of another on standard error
  local body
  body=$(curl -sS --fail-with-body --cacert tls.pem "$@") || {
    printf '%s\n' "$body" >&2
    return 1
  }
  printf '%s\n' "$body"
}
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
plain() { # decodes base64url
  local text
  text=$(tr -- '-_' '+/')
  while [ $((${#text} % 4)) -ne 0 ]; do text+='='; done
  printf '%s' "$text" | openssl base64 -d -A
}
member() { # of a JSON object: the text or number with a name
  tr ',{}' '\n\n\n' | sed -n 's/^ *"'"$1"'" *: *"\{0,1\}\([^"]*\)"\{0,1\} *$/\1/p' | head -n 1
}

# 1. The signed metadata: chain to the anchor, signature, issuer and time.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
signed=$(request -G --data-urlencode "community=$community" "$base/.well-known/udap" | member signed_metadata)
IFS=. read -r head claims signature <<<"$signed"
n=0
for der in $(plain <<<"$head" | tr -d ' \n' | sed 's/.*"x5c":\[\([^]]*\)\].*/\1/' | tr -d '"' | tr ',' '\n'); do
  openssl base64 -d -A <<<"$der" | openssl x509 -inform DER -out "$work/$n.pem"
  n=$((n + 1))
done
cat "$work"/[1-9].pem >"$work/issuers.pem" 2>/dev/null || true
openssl verify -CAfile anchor.pem -untrusted "$work/issuers.pem" "$work/0.pem"
openssl x509 -in "$work/0.pem" -noout -ext subjectAltName | grep -qF "URI:$base"
openssl x509 -in "$work/0.pem" -noout -pubkey >"$work/key.pem"
plain <<<"$signature" >"$work/signature"
printf '%s.%s' "$head" "$claims" | openssl dgst -sha256 -verify "$work/key.pem" -signature "$work/signature"
claims=$(plain <<<"$claims")
[ "$(member iss <<<"$claims")" = "$base" ]
[ "$(member exp <<<"$claims")" -gt "$(date +%s)" ]
register=$(member registration_endpoint <<<"$claims")
token=$(member token_endpoint <<<"$claims")

# A JWT that the client signs: RS256, with the certificate chain, leaf first.
x5c=$(awk '/^-----BEGIN/ { c = "" } !/-----/ { c = c $0 } /^-----END/ { printf "%s\"%s\"", s, c; s = "," }' client.pem)
sign() {
  local text
  text=$(printf '{"alg":"RS256","x5c":[%s]}' "$x5c" | base64url).$(printf '%s' "$1" | base64url)
  printf '%s.%s' "$text" "$(printf '%s' "$text" | openssl dgst -sha256 -sign client.key -binary | base64url)"
}
times() {
  local now
  now=$(date +%s)
  printf '"iat":%d,"exp":%d,"jti":"%s"' "$now" $((now + 300)) "$(openssl rand -hex 16)"
}

# 2. Registration: once. Keep the client_id.
statement=$(sign '{"iss":"'"$client"'","sub":"'"$client"'","aud":"'"$register"'",'"$(times)"',
  "client_name":"My client","contacts":["mailto:me@example.org"],"client_uri":"https://example.org/",
  "tos_uri":"https://example.org/terms","policy_uri":"https://example.org/privacy",
  "grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","scope":"system/Patient.rs"}')
client_id=$(request -H 'Content-Type: application/json' \
  -d '{"software_statement":"'"$statement"'","udap":"1"}' "$register" | member client_id)
echo "client_id $client_id"

# 3. A token, and a resource.
assertion=$(sign '{"iss":"'"$client_id"'","sub":"'"$client_id"'","aud":"'"$token"'",'"$(times)"',
  "extensions":{"hl7-b2b":{"version":"1","organization_id":"https://example.org/organization",
  "organization_name":"[[.Organization]]","purpose_of_use":["[[.Purpose]]"]}}}')
access=$(request -d grant_type=client_credentials -d scope=system/Patient.rs -d udap=1 \
  -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \
  --data-urlencode "client_assertion=$assertion" "$token" | member access_token)
request -H "Authorization: Bearer $access" -H 'Accept: application/fhir+json' "$base/Patient?_count=1"
