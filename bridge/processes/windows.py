"""Windows job objects: a job holds a child and its descendants, and ends them together. Never run by us.

Standard library only, as `children.py`. Windows has neither POSIX process groups nor SIGTERM, and a process that is
ended leaves its children running. A job ends when its last handle is closed; only the bridge has one, so the job ends
even if the bridge is killed.
"""

import ctypes

# The figures are those of winnt.h.
_EXTENDED_LIMITS, _KILL_ON_CLOSE = 9, 0x2000
_MAY_SET_QUOTA_AND_TERMINATE = 0x0101


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("smallest_working_set", ctypes.c_size_t),
        ("largest_working_set", ctypes.c_size_t),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("basic", _BasicLimits),
        ("input_output", ctypes.c_uint64 * 6),
        ("sizes", ctypes.c_size_t * 4),
    )


class Job:
    """A job object that holds a child and its descendants."""

    def __init__(self, pid: int) -> None:
        """Hold this process and the processes that it starts from now on. Raises OSError."""
        self._kernel = _load_kernel()
        self._handle: int | None = self._kernel.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.basic.flags = _KILL_ON_CLOSE
        process = self._kernel.OpenProcess(_MAY_SET_QUOTA_AND_TERMINATE, False, pid)
        is_held = self._kernel.SetInformationJobObject(
            self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
        ) and self._kernel.AssignProcessToJobObject(self._handle, process)
        self._kernel.CloseHandle(process)
        if not is_held:
            self.end()
            raise OSError(f"process {pid} cannot be held in a job")

    def end(self) -> None:
        """End all processes in the job at once; a second call does nothing."""
        if self._handle is not None:
            self._kernel.TerminateJobObject(self._handle, 1)
            self._kernel.CloseHandle(self._handle)
            self._handle = None


def _load_kernel() -> ctypes.CDLL:
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[missing-attribute] - Windows' own
    handle, pointer, number = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32
    kernel.CreateJobObjectW.restype = kernel.OpenProcess.restype = handle
    kernel.CreateJobObjectW.argtypes = (pointer, ctypes.c_wchar_p)
    kernel.OpenProcess.argtypes = (number, ctypes.c_int, number)
    kernel.SetInformationJobObject.argtypes = (handle, ctypes.c_int, pointer, number)
    kernel.AssignProcessToJobObject.argtypes = (handle, handle)
    kernel.TerminateJobObject.argtypes = (handle, number)
    kernel.CloseHandle.argtypes = (handle,)
    return kernel
