"""Camera-trap archives: frames, detections, events, exports, report."""
