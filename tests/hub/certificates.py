"""A certificate authority that belongs to nobody, and a host of its, for a hub that speaks TLS on the loopback.

Made once with openssl for 127.0.0.1 and localhost, valid from 2020 to 2120 (one of them for a day only); the
authority's own key was thrown away.
"""

import ssl
import tempfile
from pathlib import Path

from download_worker.web.tls import TlsContext

AUTHORITY = """
-----BEGIN CERTIFICATE-----
MIIBhjCCASygAwIBAgIUWhpVMHiQZm6E3muMlQysRUOqr4AwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVY29tZnktZG9jdG9yIHRlc3RzIENBMCAXDTIwMDEwMTAwMDAw
MFoYDzIxMjAwMTAxMDAwMDAwWjAgMR4wHAYDVQQDDBVjb21meS1kb2N0b3IgdGVz
dHMgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT0W1IgN5GopGvoWcpgsmbV
wubVo5EUhHJu5qKoh/nAjoDXC/hkrFmLAWh/3k4b/AH/LvnHwe+GB87WA6lbWEnw
o0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAdBgNVHQ4EFgQU
dKqI73QFhoLWE0ajVuFqK4aYZfUwCgYIKoZIzj0EAwIDSAAwRQIgdQ5swWCDFjVX
c3teMNvv1fTvAFbw9/KbrpnPSQvWuSoCIQDrZB/etdUPUbKiCGUveUKoO2Sb8IFW
+r6Qurfc9z7cNA==
-----END CERTIFICATE-----
"""
KEY = """
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEICRwOmFjQzSLtKmOVmn5foXXlM7EtuJ1c72XaEMWfKIpoAoGCCqGSM49
AwEHoUQDQgAEShiuCzafu/KzAP+Fx6lQE8WYxAjr417GIAnRXZoNU3NRDpl1ni3Z
KTkMGvP87lerbTQqjx0M73sFDFsSklqcBQ==
-----END EC PRIVATE KEY-----
"""
CERTIFICATE = """
-----BEGIN CERTIFICATE-----
MIIBkTCCATegAwIBAgIUffjbZ6mdGx7khs+JzooX65RjCaMwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVY29tZnktZG9jdG9yIHRlc3RzIENBMCAXDTIwMDEwMTAwMDAw
MFoYDzIxMjAwMTAxMDAwMDAwWjAPMQ0wCwYDVQQDDARnb29kMFkwEwYHKoZIzj0C
AQYIKoZIzj0DAQcDQgAEShiuCzafu/KzAP+Fx6lQE8WYxAjr417GIAnRXZoNU3NR
Dpl1ni3ZKTkMGvP87lerbTQqjx0M73sFDFsSklqcBaNeMFwwGgYDVR0RBBMwEYcE
fwAAAYIJbG9jYWxob3N0MB8GA1UdIwQYMBaAFHSqiO90BYaC1hNGo1bhaiuGmGX1
MB0GA1UdDgQWBBT/tIp4SEKhki8hAXeCs6+9Py9YqjAKBggqhkjOPQQDAgNIADBF
AiAiOqWY1QPPjGittRYAb45YJ33w6yXG//hkLjHpuwae0AIhAOnnaIlmx/Y0pvvq
k5zbEvA8N+PxwHtPbDpfXObXfpi7
-----END CERTIFICATE-----
"""
# Signed by itself, so it is trusted where it is named; valid from 2110 on.
NOT_YET_VALID = """
-----BEGIN CERTIFICATE-----
MIIBeTCCAR6gAwIBAgIUCRoxyEAGB/adqikIugHGIYGySSEwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHbm90IHlldDAiGA8yMTEwMDEwMTAwMDAwMFoYDzIxMjAwMTAx
MDAwMDAwWjASMRAwDgYDVQQDDAdub3QgeWV0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEShiuCzafu/KzAP+Fx6lQE8WYxAjr417GIAnRXZoNU3NRDpl1ni3ZKTkM
GvP87lerbTQqjx0M73sFDFsSklqcBaNOMEwwGgYDVR0RBBMwEYcEfwAAAYIJbG9j
YWxob3N0MA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFP+0inhIQqGSLyEBd4Kz
r70/L1iqMAoGCCqGSM49BAMCA0kAMEYCIQD0Riw39Lh0Kx5tNWbVHzdVgtFOlXAv
zL/OWgVtJDH4ygIhAK547AVnsZoRhwzC+o6lhqMhtsHpJL0Uy/oExMSGfhJL
-----END CERTIFICATE-----
"""
CERTIFICATES = {
    "good": CERTIFICATE,
    "wrong host": """
-----BEGIN CERTIFICATE-----
MIIBlDCCATqgAwIBAgIUAgG3ZJvTFKdDE7UtgyN55435MDYwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVY29tZnktZG9jdG9yIHRlc3RzIENBMCAXDTIwMDEwMTAwMDAw
MFoYDzIxMjAwMTAxMDAwMDAwWjAQMQ4wDAYDVQQDDAV3cm9uZzBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABEoYrgs2n7vyswD/hcepUBPFmMQI6+NexiAJ0V2aDVNz
UQ6ZdZ4t2Sk5DBrz/O5Xq200Ko8dDO97BQxbEpJanAWjYDBeMBwGA1UdEQQVMBOC
EWVsc2V3aGVyZS5leGFtcGxlMB8GA1UdIwQYMBaAFHSqiO90BYaC1hNGo1bhaiuG
mGX1MB0GA1UdDgQWBBT/tIp4SEKhki8hAXeCs6+9Py9YqjAKBggqhkjOPQQDAgNI
ADBFAiBTTti0g12BdtEJ04YvhvTopPpv/2UH1iEOKjLEKhvYrAIhAM4oz2MjC2YZ
rpXgUL/SXgJGyv+0WBNBlPghTiUaprAc
-----END CERTIFICATE-----
""",
    "expired": """
-----BEGIN CERTIFICATE-----
MIIBkTCCATigAwIBAgIUShI/RqTN8kc2yN5ejF//1SbRbHAwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVY29tZnktZG9jdG9yIHRlc3RzIENBMB4XDTIwMDEwMTAwMDAw
MFoXDTIwMDEwMjAwMDAwMFowEjEQMA4GA1UEAwwHZXhwaXJlZDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABEoYrgs2n7vyswD/hcepUBPFmMQI6+NexiAJ0V2aDVNz
UQ6ZdZ4t2Sk5DBrz/O5Xq200Ko8dDO97BQxbEpJanAWjXjBcMBoGA1UdEQQTMBGH
BH8AAAGCCWxvY2FsaG9zdDAfBgNVHSMEGDAWgBR0qojvdAWGgtYTRqNW4Worhphl
9TAdBgNVHQ4EFgQU/7SKeEhCoZIvIQF3grOvvT8vWKowCgYIKoZIzj0EAwIDRwAw
RAIgDlmWFbneTCJV0E55qV1vSyq5UD0FZsy7MT5eFq72ma4CIFOL7vUi+711kZDr
QPKi2e8CUAzY6if+X9MjGLIJcrFk
-----END CERTIFICATE-----
""",
    "not yet valid": NOT_YET_VALID,
}
"""Good and bad ones, all for `KEY`."""


def serving(name: str = "good") -> ssl.SSLContext:
    """What a Hub is given to speak TLS, with one of `CERTIFICATES`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "chain.pem"
        chain.write_text(KEY + CERTIFICATES[name])
        context.load_cert_chain(chain)
    return context


def trusting(authority: str = AUTHORITY) -> TlsContext:
    """What its client trusts: this authority and no other."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority)
    return context
