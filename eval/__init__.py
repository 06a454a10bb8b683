"""Judges poses: PoseTrack mAP, MOTA and HOTA, COCO AP, error diagnosis, jitter, and a report page."""
