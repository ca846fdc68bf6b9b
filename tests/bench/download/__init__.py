"""Downloads measured side by side: ours, the peers that are installed, and the physical limits of the same minute.

`scenarios` says what is compared, `running` runs it interleaved, `table` shows medians, ratios and targets. What they
stand on: `goods` (files with known digests, a certificate authority), `servers` (nginx, or `sendfile_server` in a
process of its own), `longpipe` (two network namespaces with a long fat pipe between), `contenders` (what is run),
`measuring` (seconds, CPU and memory of a process tree) and `limits`.
"""
