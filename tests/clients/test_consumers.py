"""What scripts do with printed and returned reports: each parser as its users write it."""

import json
import re

import pytest

from tests.clients.models import small_onnx

HEAD = """
import json, re, sys
from rknn.api import RKNN
rknn = RKNN()
rknn.load_onnx('net.onnx')
rknn.build(do_quantization=False)
"""
CONSUMERS = {
    # simulator: layers by id, a number each; the total is their sum (FAQ 1.5, B37)
    "perf dictionary": """
rknn.init_runtime()
perf = rknn.eval_perf(inputs=None, is_print=False, loop_cnt=10)
assert sum(layer['time'] for layer in perf['layers'].values()) == perf['total_time']
ids = [int(key) for key in perf['layers']]
names = [perf['layers'][str(i)]['name'] for i in ids]
assert all(re.match(r'^[a-z0-9_.]+_[1-4]$', name) for name in names), names
fps = 1000000 / perf['total_time']
json.dumps(perf)
""",
    "engine of a row by its last letter": """
rknn.init_runtime()
layers = rknn.eval_perf(is_print=False)['layers'].values()
engine = {'1': 'SH', '2': 'NN', '3': 'TP', '4': 'SW'}
assert {engine[layer['name'][-1]] for layer in layers} <= set(engine.values())
""",
    # board without perf_debug: only the total
    "perf of a board": """
rknn.init_runtime(target='rk1808')
perf = rknn.eval_perf(inputs=None)
print('%.2f ms' % (perf['total_time'] / 1000))
assert 'layers' not in perf
""",
    "layers of a board": """
rknn.init_runtime(target='rk1808', perf_debug=True)
perf = rknn.eval_perf(is_print=False)
for uid, layer in sorted(perf['layers'].items(), key=lambda item: -item[1]['time']):
    print('{:>4} {:40} {:20} {}'.format(uid, layer['name'], layer['operation'], layer['time']))
""",
    # eval_memory needs eval_mem=True in the toolkit; here both ways
    "memory dictionary": """
rknn.init_runtime(target='rk1808', eval_mem=True)
memory = rknn.eval_memory(is_print=False)
for part in ('system_memory', 'npu_memory', 'total_memory'):
    for key in ('maximum_allocation', 'total_allocation'):
        print(part, key, '%.2f MiB' % (int(memory[part][key]) / 1024 / 1024))
assert memory['total_memory']['total_allocation'] == sum(
    memory[part]['total_allocation'] for part in ('system_memory', 'npu_memory'))
""",
    "version": """
rknn.init_runtime()
text = rknn.get_sdk_version()
api = re.search(r'API: ?(\\d+)\\.(\\d+)\\.(\\d+)', text)
assert tuple(map(int, api.groups())) >= (1, 7, 0)
assert re.search(r'DRV:\\s*(\\S+) \\((\\w+) build: (.+)\\)', text)
print(text)
""",
    "first board, or none": """
adb_devices, ntb_devices = rknn.list_devices()
device_id = (adb_devices + ntb_devices)[0] if adb_devices or ntb_devices else None
for index, dev_id in enumerate(rknn.list_devices()[-1]):
    assert dev_id[:2] != 'TS'
rknn.init_runtime(target='rk1808', device_id=device_id)
""",
    "platforms": """
rknn.export_rknn('net.rknn')
found = rknn.list_support_target_platform(rknn_model='net.rknn')
assert 'RK1808' in found['support_target_platform']
assert found['filled_target_platform'] == ['RK1808']
assert rknn.list_support_target_platform() is not False
""",
    "description of a file": """
rknn.export_rknn('net.rknn')
config = rknn.fetch_rknn_model_config('net.rknn')
print(json.dumps(config, indent=2))
for tensor in config['norm_tensor']:
    w, h, c, n = (list(tensor['size']) + [1, 1, 1, 1])[:4]
""",
}


@pytest.mark.parametrize("name", CONSUMERS)
def test_returned_reports(name, work, script):
    small_onnx("net.onnx")
    found = script(HEAD + CONSUMERS[name])
    assert found.code == 0, found.err


@pytest.fixture
def printed(work, script):
    """Return a function: arguments of init_runtime, call -> what is printed."""
    small_onnx("net.onnx")

    def call(runtime, report):
        found = script(f"{HEAD}rknn.init_runtime({runtime})\nrknn.{report}\n")
        assert found.code == 0, found.err
        return found.out

    return call


def test_a_table_of_the_simulator(printed):
    out = printed("", "eval_perf(loop_cnt=100)")
    rows = re.findall(r"^(\d+)\s+([\w.]+_\d)\s+(\d+)\s*$", out, re.M)
    assert rows
    total = int(re.search(r"Total Time\(us\): (\d+)", out).group(1))
    assert total == sum(int(row[2]) for row in rows)
    fps = {int(mhz): float(value) for mhz, value in re.findall(r"FPS\((\d+)MHz\): ([\d.]+)", out)}
    assert fps[800] == pytest.approx(1e6 / total, abs=0.01)
    assert 0.75 * fps[800] <= fps[600] < fps[800]  # the memory's time does not grow
    lines = out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("Layer ID"))
    end = next(i for i, line in enumerate(lines) if line.startswith("Total Time"))
    assert end - begin - 1 == len(rows)  # parsers that read from one line to the other


def test_tables_of_a_board(printed):
    out = printed("target='rk1808'", "eval_perf()")
    average = float(re.search(r"Average inference Time\(us\): ([\d.]+)", out).group(1))
    assert float(re.search(r"^FPS: ([\d.]+)", out, re.M).group(1)) == pytest.approx(
        1e6 / average, rel=0.01
    )
    out = printed("target='rk1808', perf_debug=True", "eval_perf(export_perf_statistics=True)")
    assert re.search(r"Layer ID\s+Name\s+Operator\s+Uid\s+Time\(us\)", out)
    assert int(re.search(r"Total Time\(us\): (\d+)", out).group(1)) > 0
    assert float(re.search(r"FPS: ([\d.]+)", out).group(1)) > 0
    assert re.search(r"OP\s+Call Number\s+Total Time\(us\)\s+Time Ratio\(%\)", out)


def test_a_table_of_memory(printed):
    out = printed("target='rk1808', eval_mem=True", "eval_memory()")
    found = re.findall(
        r"^(System|NPU|Total) memory:\s+maximum allocation : ([\d.]+) MiB\s+"
        r"total allocation   : ([\d.]+) MiB",
        out,
        re.M,
    )
    assert [name for name, *_ in found] == ["System", "NPU", "Total"]
    assert re.search(r"current model size is: ([\d.]+) MiB", out)


def test_lists(printed):
    out = printed("", "list_devices()")
    assert out.startswith("*" * 25 + "\nNone devices connected.\n")
    out = printed("", "list_support_target_platform()")
    assert re.search(r"Target platforms filled in RKNN model:\s+(\[.*\])", out)
    filled = re.search(r"supported by this RKNN model:\s+(\[.*\])", out).group(1)
    assert "RK3399PRO" in json.loads(filled.replace("'", '"'))
