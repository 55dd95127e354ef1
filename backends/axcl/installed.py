"""Where the card's software is, once it is installed (the packages `axclhost` and pyAXCL)."""

import os
from pathlib import Path

LIBRARIES = (
    "libspdlog.so",
    "libaxcl_token.so",
    "libaxcl_pcie_msg.so",
    "libaxcl_pcie_dma.so",
    "libaxcl_comm.so",
    "libaxcl_pkg.so",
    "libaxcl_rt.so",
    "libaxcl_sys.so",
    "libaxcl_dmadim.so",
    "libaxcl_ivps.so",
    "libaxcl_ive.so",
    "libaxcl_venc.so",
    "libaxcl_vdec.so",
    "libaxcl_npu.so",
)
"""What `import axcl` opens (axcl/lib/axcl_lib.py of pyAXCL V2.25.0); V3.10 also opens libaxcl_logger.so."""

MODULES = ("ax_pcie_host_dev", "ax_pcie_msg", "ax_pcie_mmb", "axcl_host", "ax_pcie_p2p_rc")
"""Kernel modules in the order in which they load (axcl_pcie.conf of axcl-runtime V3.10.2)."""

NODES = ("/dev/axcl_host", "/dev/msg_userdev", "/dev/ax_mmb_dev", "/dev/p2p")
"""Device nodes, which everybody may use by the package's udev rule (axcl_host.rules)."""

DRIVER = "ax_pcie_dev_host"
FIRMWARE = "/lib/firmware/axcl"
TOOLS = "/usr/bin/axcl"
PACKAGE, BINDING = "axclhost", "pyAXCL"


def library_folder() -> Path:
    """Where pyAXCL looks for its libraries. The variable is pyAXCL's own, and no setting of the gateway's."""
    return Path(os.getenv("AXCL_LIB_PATH", "/usr/lib/axcl"))
