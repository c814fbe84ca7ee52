"""`navit-edge report`: a bundle on one page (docs/report.md).

``recorded`` reads the bundle, ``given`` the files of other commands, ``gather`` makes a report of both, ``compare``
puts two beside each other, ``html`` makes the page. ``chart`` and ``bars`` draw; ``content`` is the data.
"""

from navit_edge.report.compare import compare
from navit_edge.report.content import BundleReport, Comparison, ReportFile
from navit_edge.report.gather import report_of
from navit_edge.report.html import render

__all__ = ["BundleReport", "Comparison", "ReportFile", "compare", "render", "report_of"]
