"""Certificates for tests, made with the openssl program: a CA, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import LOCAL, PATIENCE, tool

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
DATABASE = """\
[ca]
default_ca = ours
[ours]
database = {folder}/index
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
rand_serial = yes
unique_subject = no
default_md = sha256
policy = anyone
[anyone]
commonName = supplied
"""


def openssl(*arguments):
    program = tool("openssl", "install Debian's package openssl")
    done = subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE)
    if done.returncode != 0:
        pytest.fail(f"openssl {arguments[0]}: {done.stderr}")
    return done.stdout


@dataclass
class Identity:
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


class Authority:
    """A CA. It makes each certificate on first use, and keeps it."""

    def __init__(self, folder, name="authority"):
        self.folder, self.name = Path(folder), name
        self.cert, self.key = self.folder / "ca.pem", self.folder / "ca.key"
        self.made = {}
        openssl("req", "-x509", *CURVE, "-days", 30, "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)
        (self.folder / "index").touch()
        (self.folder / "ca.conf").write_text(DATABASE.format(folder=self.folder))

    def sign(self, name, names=(), usage="serverAuth", expired=False):
        """names: DNS names and addresses; the common name `name` is not one of them."""
        wanted = (name, tuple(names), usage, expired)
        if wanted not in self.made:
            place = self.folder / f"identity{len(self.made)}"
            identity = Identity(place.with_suffix(".pem"), place.with_suffix(".key"))
            request, extensions = place.with_suffix(".csr"), place.with_suffix(".ext")
            alternatives = [("IP:" if ":" in each or each[-1].isdigit() else "DNS:") + each for each in names]
            extensions.write_text(f"basicConstraints = CA:FALSE\nextendedKeyUsage = {usage}\n" +
                                  (f"subjectAltName = {','.join(alternatives)}\n" if alternatives else ""))
            dates = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z" if expired else "20500101000000Z"]
            openssl("req", *CURVE, "-subj", f"/CN={name}", "-keyout", identity.key, "-out", request)
            openssl("ca", "-batch", "-notext", "-config", self.folder / "ca.conf", *dates, "-extfile", extensions,
                    "-in", request, "-out", identity.cert)
            self.made[wanted] = identity
        return self.made[wanted]

    def server(self, *names, expired=False):
        """A certificate for a server of these names, by default this machine's."""
        return self.sign("redis", names or (LOCAL, "::1", "localhost"), expired=expired)

    def client(self, expired=False):
        return self.sign("client", usage="clientAuth", expired=expired)

    def hashed(self):
        """A folder in which OpenSSL finds the CA, by its hash."""
        place = self.folder / "hashed"
        if not place.exists():
            place.mkdir()
            (place / "ca.pem").write_bytes(self.cert.read_bytes())
            openssl("rehash", place)
        return place
