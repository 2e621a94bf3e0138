"""200 strings that want to be more than text."""

from __future__ import annotations

HEARTS = (
    "<script>window.pwned=1</script>", "<img src=x onerror=window.pwned=1>", "<svg onload=window.pwned=1>", "\"><script>window.pwned=1</script>",
    "'><img src=x onerror=window.pwned=1>", "javascript:window.pwned=1", "<a href=javascript:window.pwned=1>x</a>", "<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "\" onmouseover=\"window.pwned=1", "' autofocus onfocus='window.pwned=1", "</title><script>window.pwned=1</script>", "</textarea><script>window.pwned=1</script>",
    "</style><script>window.pwned=1</script>", "<!--<script>window.pwned=1</script>", "]]><script>window.pwned=1</script>", "{{7*7}}{% raw %}{{ config }}",
    "${window.pwned=1}", "<body onload=window.pwned=1>", "<meta http-equiv=refresh content='0;url=//evil.example'>", "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>", "<object data=//evil.example>", "<math><mi//xlink:href='data:x,<script>window.pwned=1</script>'>",
    "<details open ontoggle=window.pwned=1>", "<form action=//evil.example><button>", "<input autofocus onfocus=window.pwned=1>", "<video><source onerror=window.pwned=1>",
    "<template><script>window.pwned=1</script></template>", "&lt;script&gt;window.pwned=1&lt;/script&gt;", "\\u003cscript\\u003ewindow.pwned=1", "%3Cscript%3Ewindow.pwned=1%3C/script%3E",
    "=cmd|' /C calc'!A0", "../../../etc/passwd", "a/b?c#d&e=f", "x\r\nSet-Cookie: pwned=1", "\u202eesrever\u202c", "\ufeffbom", "a\u0300\u0301\u0302\u0303" * 8,
    "l" * 190, "🙂" * 40, "'; DROP TABLE findings; --", "\" OR 1=1 --", "%s%n%d", "NaN", "null", "-0", "<", "&", "\"", "'",
)  # fmt: skip
AROUND = ("{}", " {} ", "a{}b", "\"{}'")
STRINGS: tuple[str, ...] = tuple(dict.fromkeys(around.format(heart)[:190] for around in AROUND for heart in HEARTS))
