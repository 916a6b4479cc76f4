"""GB/T 26875.3-2011, urban fire remote monitoring system, part 3: the message transmission protocol.

Read in this order: ``frame`` (what is on the wire), ``stream`` (frames out of a stream of bytes), ``layouts``
and ``codes`` (the standard's tables as data), ``unit`` (information objects of a frame), ``profile`` (where
makers differ), ``exchange`` (who asks, who confirms, what is sent again).
"""
