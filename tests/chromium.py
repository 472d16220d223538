"""A page in a real browser without a window, for tests: Debian's Chromium, driven by Selenium."""

import contextlib
import functools
import http.server
import shutil
import threading

import pytest


@contextlib.contextmanager
def served(folder):
    """The address of a folder on this machine, as `python -m http.server` serves it.

    Comes with the list of what was asked for.
    """
    asked = []
    handler = functools.partial(_Quiet, asked, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def __init__(self, asked, *arguments, **options):
        self.asked = asked
        super().__init__(*arguments, **options)

    def log_request(self, *_):
        """Note it, in place of a line on the terminal."""
        self.asked.append(self.path)


@contextlib.contextmanager
def browser():
    """A driver of Chromium that reaches nothing but this machine; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    exceptions = pytest.importorskip("selenium.common.exceptions")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # A name that is not this machine's has no address: the page is alone.
    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", rules):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    try:
        chromium = webdriver.Chrome(options=options, service=service)
    except exceptions.SessionNotCreatedException as error:
        pytest.skip(f"chromium does not start: {error.msg}")
    try:
        yield chromium
    finally:
        chromium.quit()
