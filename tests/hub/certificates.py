"""A certificate authority that belongs to nobody, and a host of its, for a hub that speaks TLS on the loopback.

Made once with openssl for 127.0.0.1 and localhost, valid from 2020 to 2120; the authority's own key was thrown away.
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


def serving(certificate: str = CERTIFICATE) -> ssl.SSLContext:
    """What a Hub is given to speak TLS. A certificate of its own must be one for `KEY`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "chain.pem"
        chain.write_text(KEY + certificate)
        context.load_cert_chain(chain)
    return context


def trusting(authority: str = AUTHORITY) -> TlsContext:
    """What its client trusts: this authority and no other."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority)
    return context
