"""The dashboard: a queue in the browser.

The server renders every page, so all of them can be read without JavaScript. app.js only makes them live: it fetches
the same pages and changes what differs. So there is one place that says how anything looks, and one that escapes text.

    markup    text to HTML, escaped unless it is markup
    charts    drawings as SVG
    guard     who may ask for what: hosts, origins, the key and the cookie
    actions   what users can change, as the shell commands that do it
    parts     pieces that several pages share
    pages, joblist, jobpage, …   one function per page
    live      watches the file and tells browsers about changes
    server    HTTP
"""
