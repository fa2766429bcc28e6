# Needs Python 3.9 with PyJWT and cryptography: pip install pyjwt cryptography
# Beside it: tls.pem, anchor.pem, client.pem and client.key.
import base64
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timezone

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding

BASE = "[[.Base]]"
COMMUNITY = "[[.Community]]"
CLIENT = "[[.Client]]"

PEM = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)


def certificates(file):
    with open(file, "rb") as f:
        return [x509.load_pem_x509_certificate(pem) for pem in PEM.findall(f.read())]


ANCHORS = certificates("anchor.pem")
X5C = [base64.b64encode(c.public_bytes(Encoding.DER)).decode() for c in certificates("client.pem")]
KEY = open("client.key").read()
TLS = ssl.create_default_context(cafile="tls.pem")


def request(url, data=None, headers={}):
    """Returns the JSON of an answer that succeeded."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), context=TLS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        raise SystemExit(f"{url}: {e.code} {e.read().decode()}")


def check_issued(cert, issuer):
    """Raises an exception unless issuer signed cert, which is valid now."""
    key, digest = issuer.public_key(), cert.signature_hash_algorithm
    how = [ec.ECDSA(digest)] if isinstance(key, ec.EllipticCurvePublicKey) else [padding.PKCS1v15(), digest]
    key.verify(cert.signature, cert.tbs_certificate_bytes, *how)
    if cert.issuer != issuer.subject or not valid(cert):
        raise ValueError("no chain to the anchor")


def valid(cert):
    """Reports whether cert is valid now. Before version 42, cryptography gives times without a zone."""
    if hasattr(cert, "not_valid_before_utc"):
        return cert.not_valid_before_utc <= datetime.now(timezone.utc) <= cert.not_valid_after_utc
    return cert.not_valid_before <= datetime.utcnow() <= cert.not_valid_after


# 1. The signed metadata: chain to the anchor, signature, issuer and time.
query = urllib.parse.urlencode({"community": COMMUNITY})
signed = request(f"{BASE}/.well-known/udap?{query}")["signed_metadata"]
chain = [x509.load_der_x509_certificate(base64.b64decode(c)) for c in jwt.get_unverified_header(signed)["x5c"]]
anchor = next(a for a in ANCHORS if a.subject == chain[-1].issuer)
for cert, issuer in zip(chain, chain[1:] + [anchor]):
    check_issued(cert, issuer)
names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
if BASE not in names.get_values_for_type(x509.UniformResourceIdentifier):
    raise SystemExit("the certificate is of another server")
metadata = jwt.decode(
    signed,
    chain[0].public_key(),
    algorithms=["RS256"],
    issuer=BASE,
    options={"require": ["iss", "sub", "iat", "exp", "jti"]},
)


def sign(issuer, audience, claims):
    """Returns a JWT that lives for five minutes, with the certificate chain."""
    now = int(time.time())
    times = {"iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
    whole = {"iss": issuer, "sub": issuer, "aud": audience, **times, **claims}
    return jwt.encode(whole, KEY, algorithm="RS256", headers={"x5c": X5C})


# 2. Registration: once. Keep the client_id.
statement = sign(CLIENT, metadata["registration_endpoint"], {
    "client_name": "My client",
    "contacts": ["mailto:me@example.org"],
    "client_uri": "https://example.org/",
    "tos_uri": "https://example.org/terms",
    "policy_uri": "https://example.org/privacy",
    "grant_types": ["client_credentials"],
    "token_endpoint_auth_method": "private_key_jwt",
    "scope": "system/Patient.rs",
})
registered = request(
    metadata["registration_endpoint"],
    json.dumps({"software_statement": statement, "udap": "1"}).encode(),
    {"Content-Type": "application/json"},
)
print("client_id", registered["client_id"])

# 3. A token, and a resource.
assertion = sign(registered["client_id"], metadata["token_endpoint"], {
    "extensions": {
        "hl7-b2b": {
            "version": "1",
            "organization_id": "https://example.org/organization",
            "organization_name": "[[.Organization]]",
            "purpose_of_use": ["[[.Purpose]]"],
        },
    },
})
granted = request(metadata["token_endpoint"], urllib.parse.urlencode({
    "grant_type": "client_credentials",
    "scope": "system/Patient.rs",
    "udap": "1",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": assertion,
}).encode())
found = request(f"{BASE}/Patient?_count=1", headers={
    "Authorization": f"Bearer {granted['access_token']}",
    "Accept": "application/fhir+json",
})
print(json.dumps(found, indent=2))
