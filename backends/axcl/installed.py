"""Where the card's software is, once it is installed (the packages `axclhost` and pyAXCL), and what
is the matter where it is not."""

import os
from pathlib import Path
from tempfile import gettempdir

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

MODULES = ("ax_pcie_host_dev", "ax_pcie_msg", "ax_pcie_mmb", "axcl_host")
"""Kernel modules in the order in which they load (axcl_pcie.conf of axcl-runtime V3.10.2)."""

NODES = ("/dev/axcl_host", "/dev/msg_userdev", "/dev/ax_mmb_dev")
"""Device nodes, which everybody may use by the package's udev rule (axcl_host.rules)."""

P2P_MODULE, P2P_NODE = "ax_pcie_p2p_rc", "/dev/p2p"
"""What V3.10 has beside them, for copies from one card to another."""

DRIVER = "ax_pcie_dev_host"
FIRMWARE = "/lib/firmware/axcl"
TOOLS = "/usr/bin/axcl"
PACKAGE, BINDING = "axclhost", "pyAXCL"


def library_folder() -> Path:
    """Where pyAXCL looks for its libraries. The variable is pyAXCL's own, and no setting of the gateway's."""
    return Path(os.getenv("AXCL_LIB_PATH", "/usr/lib/axcl"))


def log_file() -> Path:
    """Where the card's library is told to log to: where this user may write, because the default file
    belongs to whoever came first."""
    return Path(gettempdir()) / f"axgate-axcl-{os.getuid()}.log"


def why_not_imported(reason: BaseException) -> str:
    """What `import axcl` failed with, and what helps, in one sentence."""
    match reason:
        case SystemExit():
            told, cure = "it ended the program", "it needs a Python of 64 bits"
        case ModuleNotFoundError(name="axcl"):
            told, cure = str(reason), f"install the wheel that matches the {PACKAGE} package"
        case OSError() if library_folder().is_dir():
            told, cure = str(reason), f"install {BINDING} and {PACKAGE} of one version, and run ldconfig"
        case OSError():
            told, cure = (
                str(reason),
                f"install {PACKAGE}, or set AXCL_LIB_PATH to the folder of its libraries",
            )
        case _:
            told, cure = f"{type(reason).__name__}: {reason}", "install its wheel again"
    return f"{BINDING} cannot be imported ({told}): {cure}"


def why_not_opened() -> str:
    """What keeps this user from the driver, as far as its nodes show, and what helps, in one sentence."""
    missing = [node for node in NODES if not os.path.exists(node)]
    if missing:
        return (
            f"the driver is not loaded, {missing[0]} is not there: install {PACKAGE} or load it (modprobe "
            "axcl_host), and give a container each of its nodes (docker run --device ...)"
        )
    closed = [node for node in NODES if not os.access(node, os.R_OK | os.W_OK, effective_ids=True)]
    if closed:
        return (
            f"this user may not open {', '.join(closed)}: reinstall {PACKAGE} for its udev rule, which gives "
            "them the mode 0666"
        )
    return "the driver is there and cannot be opened: see dmesg, and reboot after an update of axclhost"
