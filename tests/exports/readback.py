# Reads an .hlog with PyPI's hdrhistogram and prints what it found: `below` is how many samples are at or below a value.
import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

LONGEST = 3600 * 10**9
total = HdrHistogram(1, LONGEST, 3)
log = HistogramLogReader(sys.argv[1], HdrHistogram(1, LONGEST, 3))
intervals = []
while (one := log.get_next_interval_histogram()) is not None:
    total.add(one)
    intervals.append({
        "count": one.get_total_count(),
        "start_ms": one.get_start_time_stamp(),
        "end_ms": one.get_end_time_stamp(),
        "tag": one.get_tag(),
    })
below = [
    [one.value_iterated_to, one.total_count_to_this_value]
    for one in total.get_recorded_iterator()
]
print(json.dumps({
    "intervals": intervals,
    "count": total.get_total_count(),
    "max": total.get_max_value(),
    "below": below,
}))
