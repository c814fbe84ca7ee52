// A vendor's library, for the fake backend that links against it.
extern "C" __attribute__((visibility("default"))) int fake_vendor_version() { return 123; }
