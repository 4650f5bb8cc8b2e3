"""The sample data: what the packages carry, unpacked into one folder. A part a module, put together by `build`."""
