from __future__ import annotations

import pytest

from imp_deploy.bench import describe
from imp_deploy.bench.disk import free_bytes, parse_df
from imp_deploy.bench.host import HostDevice
from imp_deploy.results import Core, DeviceRecord

PHONE = """WARNING: linker: something
@@imp props
[ro.product.manufacturer]: [Xiaomi]
[ro.product.model]: [23116PN5BC]
[ro.soc.model]: [SM8650]
[ro.board.platform]: [pineapple]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.build.version.release]: [14]
[ro.build.fingerprint]: [Xiaomi/shennong/shennong:14/UKQ1/V816:user/release-keys]
[persist.some.thing]: [two
lines]
[ro.hardware]: [qcom]
@@imp cpuinfo
processor\t: 0
BogoMIPS\t: 38.40
Features\t: fp asimd asimddp i8mm bf16
CPU implementer\t: 0x41

processor\t: 1
Features\t: fp asimd
@@imp clocks
0 2265600
10 0
2 3148800
@@imp memory
MemTotal:       15537796 kB
MemFree:          500000 kB
@@imp kernel
Linux
6.1.57-android14
aarch64
#1 SMP PREEMPT
"""


def _record(cores: list[tuple[int, int]]) -> DeviceRecord:
    record = describe.parse_device(HostDevice(), PHONE)
    made = tuple(Core(cpu=cpu, max_khz=khz) for cpu, khz in cores)
    return DeviceRecord(**{**vars(record), "cores": made})


def test_a_phone_is_told_from_another() -> None:
    record = describe.parse_device(HostDevice(), PHONE)
    assert (record.manufacturer, record.model, record.soc) == ("Xiaomi", "23116PN5BC", "SM8650")
    assert record.abi == "arm64-v8a"
    assert record.os == "Android 14"
    assert record.fingerprint.startswith("Xiaomi/shennong")
    assert record.features == ("fp", "asimd", "asimddp", "i8mm", "bf16")
    assert record.memory_bytes == 15537796 * 1024
    assert [core.cpu for core in record.cores] == [0, 2, 10]
    assert not record.emulated


@pytest.mark.parametrize(
    "line",
    [
        "[ro.kernel.qemu]: [1]",
        "[ro.boot.qemu]: [1]",
        "[ro.hardware]: [ranchu]",
        "[ro.hardware]: [goldfish]",
    ],
)
def test_an_emulator_is_never_taken_for_a_phone(line: str) -> None:
    text = PHONE.replace("[ro.hardware]: [qcom]", line)
    assert describe.parse_device(HostDevice(), text).emulated


def test_an_older_phone_that_does_not_name_its_soc() -> None:
    text = PHONE.replace("[ro.soc.model]: [SM8650]\n", "")
    assert describe.parse_device(HostDevice(), text).soc == "pineapple"


def test_this_machine() -> None:
    record = describe.describe(HostDevice())
    assert record.kind == "host"
    assert record.os.startswith("Linux")
    assert record.memory_bytes > 1 << 28
    assert record.cores
    assert not record.emulated
    assert describe.boot_id(HostDevice())


def test_the_slowest_cluster_does_not_hold_the_others_up() -> None:
    """With the small cores in, 8 threads are slower than 6 on an SM8650."""
    sm8650 = [(0, 2265600), (1, 2265600), (2, 3148800), (3, 3148800), (4, 3148800)]
    sm8650 += [(5, 2956800), (6, 2956800), (7, 3302400)]
    assert describe.big_cores(_record(sm8650)) == (2, 3, 4, 5, 6, 7)
    sm8350 = [(i, 1804800) for i in range(4)] + [(i, 2419200) for i in (4, 5, 6)] + [(7, 2841600)]
    assert describe.big_cores(_record(sm8350)) == (4, 5, 6, 7)


@pytest.mark.parametrize("clocks", [(1800000, 1800000), (0, 0)])
def test_all_cores_where_no_cluster_is_known_to_be_slower(clocks: tuple[int, int]) -> None:
    assert describe.big_cores(_record(list(enumerate(clocks)))) == (0, 1)


def test_a_core_that_is_switched_off_is_not_measured_on() -> None:
    """Its clock cannot be read; a mask with the core in it, or with the small cores for its sake,
    is refused or slow."""
    cores = [(0, 1800000), (1, 1800000), (2, 2400000), (3, 0), (4, 2800000), (5, 0)]
    assert describe.big_cores(_record(cores)) == (2, 4)
    assert describe.big_cores(_record([(0, 0), (1, 2400000), (2, 2400000)])) == (1, 2)


def test_cpu_mask_is_what_taskset_takes() -> None:
    assert describe.cpu_mask((2, 3, 4, 5, 6, 7)) == "fc"
    assert describe.cpu_mask((0,)) == "1"


CONDITIONS = """@@imp power
  mWakefulness=Awake
Display Power: state=ON
@@imp battery
Current Battery Service state:
  AC powered: false
  USB powered: true
  status: 2
  level: 83
  temperature: 291
@@imp saver
0
"""


def test_conditions_of_a_phone() -> None:
    found = describe.parse_conditions(CONDITIONS)
    assert (found.screen_on, found.battery_percent) == (True, 83)
    assert (found.charging, found.battery_saver) == (True, False)
    other = CONDITIONS.replace("state=ON", "state=OFF").replace("status: 2", "status: 3")
    found = describe.parse_conditions(other.replace("saver\n0", "saver\n1"))
    assert (found.screen_on, found.charging, found.battery_saver) == (False, False, True)


def test_conditions_that_a_device_does_not_tell_are_unknown_and_not_false() -> None:
    for text in ("", "@@imp power\n@@imp battery\nCan't find service: battery\n@@imp saver\n"):
        found = describe.parse_conditions(text)
        assert set(vars(found).values()) == {None}
    assert set(vars(describe.conditions(HostDevice())).values()) == {None}


@pytest.mark.parametrize(
    ("text", "free"),
    [
        (
            "Filesystem     1K-blocks     Used Available Use% Mounted on\n"
            "/dev/block/dm-44 239210476 31042756 208036648  13% /data/user/0\n",
            208036648 * 1024,
        ),
        (  # a long name breaks the line
            "Filesystem           1K-blocks      Used Available Use% Mounted on\n"
            "/dev/block/bootdevice/by-name/userdata\n"
            "                     113000000  12000000 101000000  11% /data\n",
            101000000 * 1024,
        ),
        (  # Android 5
            "Filesystem               Size     Used     Free   Blksize\n"
            "/data                   25.5G     1.2G    24.3G   4096\n",
            int(24.3 * 2**30),
        ),
        (
            "Filesystem 1K-blocks Used Available Use% Mounted on\noverlay 100 100 -5 100% /\n",
            0,
        ),
        ("df: /data/x: No such file or directory\n", None),
        ("", None),
    ],
)
def test_free_space(text: str, free: int | None) -> None:
    assert parse_df(text) == free


def test_free_space_of_a_folder_that_is_not_there_yet() -> None:
    assert free_bytes(HostDevice()) > 0
