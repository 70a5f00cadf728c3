"""Contact sheets: every face of some photos under every backend and strength, side by side.

pipelines = sheet_pipelines(RestoreConfig(backend="lite,gpen.bfr-512"))
sheet = contact_sheet(["group.jpg"], pipelines, strengths=(0.5, 1.0))
write_image("sheet.jpg", DecodedImage(sheet.pages[0]))
"""

from facerestore.evaluation.sheet.choice import (
    ALL,
    network_configs,
    pipelines_of,
    sheet_configs,
    sheet_pipelines,
    split_list,
)
from facerestore.evaluation.sheet.maker import ContactSheet, PhotoRows, SheetMaker, contact_sheet
from facerestore.evaluation.sheet.picture import SheetCell, SheetColumn, SheetRow, sheet_picture

__all__ = [
    "ALL",
    "ContactSheet",
    "PhotoRows",
    "SheetCell",
    "SheetColumn",
    "SheetMaker",
    "SheetRow",
    "contact_sheet",
    "network_configs",
    "pipelines_of",
    "sheet_configs",
    "sheet_picture",
    "sheet_pipelines",
    "split_list",
]
