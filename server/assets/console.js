// Endcap console. Every page works without this file; it keeps an open page fresh and shows what is cut off.
// Contract with the pages: <body data-live="/live"> on pages that follow along, one <main id="main">, ids on rows and
// controls that must survive a swap, autocomplete="off" on forms inside main, #live and #fresh-bar in the layout.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id), main = $('main'), bar = $('fresh-bar');
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- relative times: <time datetime="..." data-relative>9 Nov 10:42</time>; the server's text becomes the tooltip
  const ago = (seconds) => {
    const s = Math.abs(seconds);
    if (s < 45) return 'just now';
    const text = s < 3570 ? `${Math.max(1, Math.round(s / 60))} min` : s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  };
  const tellTimes = () => all('time[data-relative]').forEach((t) => {
    t.title ||= t.textContent.trim(); t.textContent = ago((Date.now() - Date.parse(t.dateTime)) / 1000);
  });
  tellTimes();
  setInterval(tellTimes, 20_000);

  // ---- unsaved input
  const controls = (root) => all('input:not([type=hidden]), textarea, select', root);
  const changed = (c) => c.type === 'checkbox' || c.type === 'radio' ? c.checked !== c.defaultChecked
    : c.options ? c.selectedIndex !== Math.max(0, [...c.options].findIndex((o) => o.defaultSelected)) : c.value !== c.defaultValue;
  const busy = () => controls(main).some(changed)
    || (!getSelection().isCollapsed && main.contains(getSelection().anchorNode));

  // ---- swap main: keep what the reader looks at where it is, the focus, open details, sideways scroll
  const focusKey = (el) => { // the element's own id, or its kind, name and address within the nearest id
    const attribute = ['href', 'name', 'value'].find((a) => el.hasAttribute(a) && el.getAttribute(a));
    return el.id ? `#${CSS.escape(el.id)}` : `#${CSS.escape(el.closest('[id]').id)} ${el.localName}${attribute ? `[${attribute}="${CSS.escape(el.getAttribute(attribute))}"]` : ''}`;
  };
  const swap = (page) => {
    const fresh = page.getElementById('main');
    const inMain = main.contains(document.activeElement) && document.activeElement;
    const key = inMain && focusKey(inMain), caret = inMain && inMain.selectionStart;
    const known = new Set(all('[id]', main).map((e) => e.id));
    const anchor = all('[id]', main).find((e) => e.getBoundingClientRect().top >= 0), top = anchor?.getBoundingClientRect().top;
    const sideways = all('.scroll-x, .pg-scroll, .tabs', main).map((e) => e.scrollLeft);
    const opened = all('details[id][open]', main).map((e) => e.id);
    const typed = controls(main).filter((c) => c.id && c.type !== 'file' && changed(c)); // a page may not choose a file
    main.replaceChildren(...fresh.childNodes);
    typed.filter((c) => $(c.id)).forEach((c) => Object.assign($(c.id), 'checked' in c ? { value: c.value, checked: c.checked } : { value: c.value }));
    opened.forEach((id) => { if ($(id)) $(id).open = true; });
    all('.scroll-x, .pg-scroll, .tabs', main).forEach((e, i) => { e.scrollLeft = sideways[i] || 0; });
    if (anchor && $(anchor.id)) scrollBy(0, $(anchor.id).getBoundingClientRect().top - top);
    const focus = key && document.querySelector(key);
    if (focus) {
      focus.focus({ preventScroll: true });
      if (caret != null) focus.setSelectionRange?.(caret, caret);
    }
    all('tr[id], li[id], figure[id]', main).filter((e) => !known.has(e.id)).forEach((e) => e.classList.add('just-in'));
    all('[data-fresh]', page).forEach((e) => $(e.id)?.replaceWith(e)); // counts in the header
    document.title = page.title;
    bar.hidden = true;
    tellTimes();
    all('.tabs', main).forEach(edges);
  };

  // ---- fetch the page again; a burst of pokes costs one fetch, a hidden tab none until it is looked at
  let last = null, waiting = null, stale = false, running = false;
  const fetchPage = async () => {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' }, cache: 'no-store' });
    if (answer.redirected) return busy() ? null : location.reload(); // signed out meanwhile
    if (!answer.ok) return null;
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html'), fresh = page.getElementById('main');
    return fresh && fresh.innerHTML !== last ? page : null;
  };
  const refresh = async (asked) => {
    if ((stale = running || document.hidden)) return;
    try {
      running = true;
      const page = await fetchPage();
      if (page && busy() && !asked) bar.hidden = false;
      else if (page) {
        const html = page.getElementById('main').innerHTML;
        const lost = controls(main).filter((c) => changed(c) && c.value.trim() && (c.type === 'file' || !(c.id && page.getElementById(c.id))));
        if (!lost.length || confirm('What you typed no longer has a place on this page. Show the new page and drop it?')) { swap(page); last = html; }
      }
    } catch { /* the dot in the header already says that the line is down */ } finally { running = false; }
    if (stale) poke();
  };
  const poke = () => { clearTimeout(waiting); waiting = setTimeout(refresh, 400); };
  bar?.querySelector('button').addEventListener('click', () => refresh(true));

  // ---- live line: only pages in sight hold one. A browser opens six connections to a host, and a page that waits in its
  // back/forward cache or in another tab would keep one of them.
  const tell = (ok) => { const e = $('live'); e.hidden = false; e.className = `live ${ok ? 'is-live' : 'is-lost'}`; e.textContent = ok ? 'Live' : 'Offline'; };
  let line = null, later = null;
  const hush = () => { clearTimeout(later); line?.close(); line = null; };
  const listen = (again = false) => {
    hush();
    if (document.hidden) return;
    const source = line = new EventSource(document.body.dataset.live);
    source.onopen = () => { tell(true); if (again) poke(); again = true; }; // pokes may have been missed
    source.onmessage = poke;
    source.onerror = () => { tell(false); if (source.readyState === EventSource.CLOSED) later = setTimeout(listen, 5000, true); };
  };
  if (main && bar && document.body.dataset.live) {
    listen();
    addEventListener('pagehide', hush);
    addEventListener('pageshow', (e) => { if (e.persisted) listen(true); });
    document.addEventListener('visibilitychange', () => { if (document.hidden) hush(); else listen(true); });
    document.addEventListener('resume', () => listen(true)); // frozen while it was hidden
  }

  // ---- where the navigation and tabs are cut: what one is on comes into sight, and each edge that hides some fades
  const edges = (row) => {
    row.classList.toggle('more-before', row.scrollLeft > 4);
    row.classList.toggle('more-after', row.scrollLeft + row.clientWidth < row.scrollWidth - 4);
  };
  all('.nav, .tabs').forEach((row) => {
    const here = row.querySelector('[aria-current]');
    if (here) row.scrollLeft = here.offsetLeft - row.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
    edges(row);
  });
  document.addEventListener('scroll', (e) => { if (e.target.matches?.('.nav, .tabs')) edges(e.target); }, { passive: true, capture: true });
  addEventListener('resize', () => all('.nav, .tabs').forEach(edges));

  // ---- photos: <a class="photo-frame" data-photo href="full.jpg"> opens in the dialog, the arrow keys leaf through
  const box = $('lightbox');
  let at = 0, group = 'main'; // leaf within one section; by id, for main may be swapped meanwhile
  const photosOf = () => all('a[data-photo]', $(group) || main), show = (i) => {
    const photos = photosOf();
    if (!photos.length) return box.close();
    at = (i + photos.length) % photos.length;
    const img = box.querySelector('img'), told = all('figcaption :is(b, span)', photos[at].closest('figure') || box).map((e) => e.innerText).join('\n'), text = photos[at].dataset.photo || told;
    img.src = photos[at].href; img.alt = photos[at].querySelector('img')?.alt || '';
    box.querySelector('figcaption').textContent = `${text.replace(/\s*\n\s*/g, ' · ')} (${at + 1} of ${photos.length})`;
    if (!box.open) box.showModal();
  };
  document.addEventListener('click', (e) => {
    const link = e.target.closest('a[data-photo]'), way = e.target.closest('[data-leaf]');
    if (link && box && !e.metaKey && !e.ctrlKey && !e.shiftKey) { e.preventDefault(); group = link.closest('section[id]')?.id || 'main'; show(photosOf().indexOf(link)); }
    else if (way) show(at + Number(way.dataset.leaf));
    else if (e.target.closest('[data-close]') || e.target === box) box.close();
  });
  box?.addEventListener('keydown', (e) => { if (e.key === 'ArrowRight') show(at + 1); else if (e.key === 'ArrowLeft') show(at - 1); });
  const absent = (img) => img.closest('.photo, .thumb')?.classList.add('is-absent'); // never a broken image
  document.addEventListener('error', (e) => { if (e.target.tagName === 'IMG') absent(e.target); }, true);
  all('img', main || document).filter((i) => i.complete && !i.naturalWidth && i.loading !== 'lazy').forEach(absent);
})();
