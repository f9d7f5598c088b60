"""What a call costs beside the chip's time, in lines of their own."""

from npusim.perfmodel.transport import Rate, Transfer


def transfer_lines(found: Transfer) -> list[str]:
    """Return the lines that are printed under an estimate; none of it is in the chip's time."""
    link = found.link_bytes_per_s
    way = f" at {link.value / 1e6:.0f} MB/s{_trust(link)}" if link else ", memory is shared"
    host = found.transport.host_values_per_s
    return [
        f"beside the chip's time, {found.transport.name}: {found.transport.title}",
        f"  input {_size(found.input_bytes)} as {found.input_type}, output "
        f"{_size(found.output_bytes)} as f32",
        f"  link        {_ms(found.link_us)} ms{way}",
        f"  conversion  {_ms(found.host_us)} ms at {host.value / 1e6:.0f} million values/s"
        f"{_trust(host)}",
        f"  call        {_ms(found.call_us)} ms{_trust(found.transport.call_us)}",
        f"  the caller waits {_ms(found.whole_us).strip()} ms: {_ms(found.npu_us).strip()} on the "
        f"chip, {_ms(found.beside_us).strip()} beside it; "
        f"{found.batch * 1e6 / found.whole_us:.1f} frames/s",
    ]


def _trust(rate: Rate) -> str:
    return f" ({rate.provenance.confidence})"


def _ms(time_us: float) -> str:
    return f"{time_us / 1e3:7.2f}"


def _size(count: int) -> str:
    if count < 1e3:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 10e6 else f"{count / 1e6:.1f} MB"
