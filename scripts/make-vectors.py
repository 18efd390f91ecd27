#!/usr/bin/env python3
"""Writes test/vectors/sigv4-x509.json: signed CreateSession requests, made without any of holdfast's code.

Only Python's standard library and the openssl program are used, so that the vectors are a second opinion on what
src/sigv4.ts does. Keys and certificates are made once and then kept: run again, the script changes nothing but what
it computes differently, and an ECDSA signature (which is random) stays as long as it verifies.

    python3 scripts/make-vectors.py           write the file
    python3 scripts/make-vectors.py --check   end with 1 if the file is not what would be written
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
from urllib.parse import quote, unquote, urlsplit

FILE = pathlib.Path(__file__).resolve().parent.parent / "test" / "vectors" / "sigv4-x509.json"

# name: (arguments of `openssl genpkey`, serial number of the leaf, how many intermediates)
IDENTITIES = {
    "RSA-2048": (["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "0xf1e2d3c4b5a69788796a5b4c3d2e1f0011223344", 0),
    "RSA-3072": (["RSA", "-pkeyopt", "rsa_keygen_bits:3072"], "21", 2),
    "P-256": (["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "0x80", 0),
    "P-384": (["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "3", 1),
    "P-521": (["EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "0xfedcba9876543210", 5),
}

ARNS = {
    "profileArn": "arn:aws:rolesanywhere:eu-central-1:111122223333:profile/0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    "roleArn": "arn:aws:iam::111122223333:role/service/build+deploy=prod,a@b",
    "trustAnchorArn": "arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/f0e1d2c3-b4a5-4968-8776-655443322110",
}
BODY = json.dumps({"durationSeconds": 3600, **ARNS}, separators=(",", ":"))
JSON_TYPE = {"content-type": "application/json"}

# name, identity, URL, headers beside those of the signature, body, region, time
REQUESTS = [
    ("RSA, ARNs in the body", "RSA-2048", "https://rolesanywhere.eu-central-1.amazonaws.com/sessions",
     JSON_TYPE, BODY, "eu-central-1", "20260228T235959Z"),
    ("RSA, ARNs in the query", "RSA-2048",
     "https://127.0.0.1:8443/sessions?" + "&".join(f"{name}={quote(arn, safe='')}" for name, arn in ARNS.items()),
     JSON_TYPE, '{"durationSeconds":900}', "eu-central-1", "20260301T000000Z"),
    ("RSA, two intermediates", "RSA-3072", "https://rolesanywhere.cn-north-1.amazonaws.com.cn/sessions",
     JSON_TYPE, BODY, "cn-north-1", "20260102T030405Z"),
    ("P-256, odd spacing and order", "P-256",
     "https://rolesanywhere.us-gov-west-1.amazonaws.com/sessions?b=2&a=x%20y&b=1&a-b=%2b&%C3%A4=",
     {"X-Zulu": "  last ", "Content-Type": "application/json;   charset=utf-8", "amz-sdk-request": "attempt=1; max=3"},
     '{"roleSessionName":"b\u00fcro-\U0001f511"}', "us-gov-west-1", "20261231T120000Z"),
    ("P-384, one intermediate", "P-384", "https://rolesanywhere.eusc-de-east-1.amazonaws.eu/sessions",
     JSON_TYPE, BODY, "eusc-de-east-1", "20260102T030405Z"),
    ("P-384, behind a path, no body", "P-384", "https://gateway.example/roles%20anywhere/v1/sessions",
     JSON_TYPE, "", "eu-central-1", "20260102T030405Z"),
    ("P-521, five intermediates", "P-521", "http://[::1]:8080/sessions",
     JSON_TYPE, BODY, "us-east-2", "20260102T030405Z"),
]


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


def encode(octets):
    return quote(octets, safe="-_.~")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def make_identity(folder, name, algorithm, serial, intermediates):
    """A root, a line of intermediates and a leaf; the chain is closest to the leaf first, without the root."""
    chain = []
    issuer = None
    for level in range(intermediates + 2):
        is_leaf = level == intermediates + 1
        key, certificate = folder / f"{level}.key", folder / f"{level}.crt"
        kind = algorithm if is_leaf else ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        key.write_bytes(openssl("genpkey", "-algorithm", *kind))
        common_name = f"{name} leaf" if is_leaf else f"{name} CA {level}"
        request = openssl("req", "-new", "-key", str(key), "-subj", f"/O=Holdfast vectors/CN={common_name}")
        extensions = folder / "extensions"
        usage = "digitalSignature" if is_leaf else "keyCertSign,cRLSign"
        extensions.write_text(
            f"basicConstraints=critical,CA:{'FALSE' if is_leaf else 'TRUE'}\nkeyUsage=critical,{usage}\n"
            "subjectKeyIdentifier=hash\n" + ("authorityKeyIdentifier=keyid\n" if issuer else "")
        )
        signer = ["-CA", str(issuer[1]), "-CAkey", str(issuer[0])] if issuer else ["-signkey", str(key)]
        number = serial if is_leaf else str(1000 + level)
        certificate.write_bytes(
            openssl("x509", "-req", "-sha256", "-days", "36500", "-set_serial", number, "-extfile", str(extensions),
                    *signer, data=request)
        )
        if issuer and not is_leaf:
            chain.insert(0, certificate)
        issuer = (key, certificate)
    der = lambda path: base64.b64encode(openssl("x509", "-in", str(path), "-outform", "DER")).decode()
    return {
        "privateKey": issuer[0].read_text(),
        "certificate": der(issuer[1]),
        "chain": [der(path) for path in chain],
        "serialNumber": str(int(serial, 0)),
    }


def canonical_query(query):
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join("=".join(pair) for pair in sorted((encode(unquote(n)), encode(unquote(v))) for n, _, v in pairs))


def sign(folder, identity, name, string_to_sign, kept):
    key = folder / "signing.key"
    key.write_text(identity["privateKey"])
    message = folder / "message"
    message.write_text(string_to_sign)
    if kept and not name.startswith("RSA"):
        public, signature = folder / "public", folder / "signature"
        public.write_bytes(openssl("pkey", "-in", str(key), "-pubout"))
        signature.write_bytes(bytes.fromhex(kept))
        arguments = ["-sha256", "-verify", str(public), "-signature", str(signature), str(message)]
        if subprocess.run(["openssl", "dgst", *arguments], capture_output=True).returncode == 0:
            return kept
    return openssl("dgst", "-sha256", "-sign", str(key), str(message)).hex()


def make_vector(folder, identities, old, request):
    name, who, url, headers, body, region, date = request
    identity = identities[who]
    parts = urlsplit(url)
    signed = {header.lower(): value for header, value in headers.items()}
    signed["host"] = parts.netloc
    signed["x-amz-date"] = date
    signed["x-amz-x509"] = identity["certificate"]
    if identity["chain"]:
        signed["x-amz-x509-chain"] = ",".join(identity["chain"])
    lines = {header: " ".join(word for word in value.split(" ") if word) for header, value in signed.items()}
    names = ";".join(sorted(lines))
    canonical = "\n".join([
        "POST",
        "/".join(encode(segment) for segment in parts.path.split("/")),
        canonical_query(parts.query),
        *(f"{header}:{lines[header]}" for header in sorted(lines)),
        "",
        names,
        sha256(body),
    ])
    algorithm = "AWS4-X509-RSA-SHA256" if who.startswith("RSA") else "AWS4-X509-ECDSA-SHA256"
    scope = f"{date[:8]}/{region}/rolesanywhere/aws4_request"
    string_to_sign = "\n".join([algorithm, date, scope, sha256(canonical)])
    kept = old.get(name, {}).get("signature")
    signature = sign(folder, identity, who, string_to_sign, kept)
    return {
        "name": name,
        "identity": who,
        "region": region,
        "date": date,
        "url": url,
        "headers": headers,
        "body": body,
        "canonicalRequest": canonical,
        "stringToSign": string_to_sign,
        "signature": signature,
        "authorization": f"{algorithm} Credential={identity['serialNumber']}/{scope}, "
                         f"SignedHeaders={names}, Signature={signature}",
    }


def main():
    old = json.loads(FILE.read_text()) if FILE.exists() else {"identities": {}, "vectors": []}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        identities = {
            who: old["identities"].get(who) or make_identity(folder, who, *how) for who, how in IDENTITIES.items()
        }
        before = {vector["name"]: vector for vector in old["vectors"]}
        vectors = [make_vector(folder, identities, before, request) for request in REQUESTS]
    content = {
        "about": "Made by scripts/make-vectors.py. The private keys are throw-away keys that no trust anchor knows.",
        "identities": identities,
        "vectors": vectors,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.exists() and text == FILE.read_text() else f"{FILE} is not what the script makes")
    FILE.write_text(text)


if __name__ == "__main__":
    main()
