import { test, expect, mock } from 'claude-code/testing'

const LINE = '\x1b[36mone\x1b[0m'
const MISSING = 'not installed'

// A session in a state directory `/s`, as far as the mod sees it. What it does is in what this returns.
const world = (on, options = {}) => {
  const it = {
    clock: mock.clock(on, { now: 1_000_000 }),
    files: {} as Record<string, string>,
    writtenMs: 1_000_000,
    isUp: true,
    isInstalled: true,
    settings: {} as Record<string, unknown>,
    told: [] as any[],
    id: 'a',
    onShow: (document: any) => {},
    ...options,
  }
  mock.env(on, { HOME: '/h', CCSTATUSD_DIR: '/s' })
  const no = (why: string) => ({ deny: why }) as never
  on('session.start', (_, e) => ({ cwd: e.cwd }))
  on('session.id', () => ({ value: it.id }))
  on('session.cwd', () => ({ value: '/w' }))
  on('session.model', () => ({ value: 'claude-opus-5-5' }))
  on('session.info', () => ({ value: { transcriptPath: '/t' } }))
  on('session.version', () => ({ value: { version: '2.1.332', base: '2.1.332' } as never }))
  on('session.usage', () => ({ value: {
    startedAt: 0,
    context: { window: 1000, tokens: 100, percent: 10 },
    rateLimits: [{ kind: 'five_hour', percentUsed: 61, resetsAt: '2026-11-25T18:00:00.000Z' }],
    cost: { usd: 0.5 },
  } as never }))
  on('session.measure', (_, e) => ({ changed: e.changed }))
  on('settings.read', () => ({ value: it.settings as never }))
  on('fs.exists', () => ({ value: true }))
  on('fs.read', (_, e) => (e.path in it.files ? { value: it.files[e.path] } : no('ENOENT')))
  on('fs.stat', (_, e) => (e.path in it.files ? { value: { kind: 'file', size: 1, mtimeMs: it.writtenMs, isLink: false } } : no('ENOENT')))
  on('http.fetch', () => no(it.isUp ? 'EPROTOTYPE: wrong type' : 'ECONNREFUSED: refused'))
  on('process.run', (_, e) => {
    if (!it.isInstalled) return no('failed to start: ENOENT')
    const document = JSON.parse(e.init?.stdin ?? '{}')
    it.told.push({ argv: e.argv, ...document })
    it.onShow(document)
    return { value: { exitCode: 0, stdout: 'printed', stderr: '' } as never }
  })
  on('classic.SessionStart', () => ({}))
  on('classic.FileChanged', () => ({}))
  on('classic.Stop', () => ({}))
  return it
}

const file = (columns: number, line = LINE) => JSON.stringify({ columns, line, old: `${line} old`, gone: `${line} no watcher` })
// The watcher answers with a line of the width that was asked for.
const answering = it => {
  it.onShow = document => { if (document.ccstatusd && it.isUp) it.files[`/s/fitted/${it.id}`] = file(document.ccstatusd.columns) }
}

const drawing = ($, on) => {
  let drawn: string | null = null
  on('ui.render', { component: 'StatusLine' }, (_, e) => {
    drawn = e.props.text
    return { type: 'Text', props: {}, children: ['drawn'] } as never
  })
  return async (own: string | null = null, columns = 80) => {
    const props = { text: own, isManaged: false, isWorking: false, maxRows: 5, columns }
    await $.ui.render({ surface: 'terminal', component: 'StatusLine', requestId: 'site:status-line', props } as never)
    return drawn
  }
}

const begin = async ($, it, draw) => {
  await $.session.start({ cwd: '/', surface: 'terminal', isInteractive: true })
  await draw()
  const answer = await $.classic.SessionStart({ source: 'startup', session_id: it.id } as never)
  await it.clock.advance(500)
  return answer as { watchPaths?: string[] }
}

test('draws what the watcher fitted, has the file watched, and draws what changes', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  const { watchPaths } = await begin($, it, draw)
  expect(watchPaths).toEqual(['/s/fitted/a'])
  expect(await draw()).toBe(LINE)
  it.files['/s/fitted/a'] = file(80, 'two')
  await $.classic.FileChanged({ file_path: '/s/fitted/a', event: 'change', session_id: 'a' } as never)
  expect(await draw()).toBe('two')
})

test('hands limits, context and cost over once a turn, and no width when nothing is drawn', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  expect(it.told[0].argv).toEqual(['ccstatusd', 'show'])
  expect(it.told[0].rate_limits).toEqual({ five_hour: { used_percentage: 61, resets_at: 1795629600 } })
  expect(it.told[0].context_window).toEqual({ context_window_size: 1000, used_percentage: 10, current_usage: { input_tokens: 100 } })
  expect(it.told[0].cost).toEqual({ total_cost_usd: 0.5 })
  expect(it.told[0].ccstatusd).toEqual({ columns: 80 })
  const before = it.told.length
  await $.session.measure({ context: { window: 1000 }, rateLimits: [], changed: ['cost'] } as never)
  await it.clock.advance(500)
  expect(it.told.length).toBe(before + 1)
})

test('asks again for another width, once, when it has come to rest', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  const before = it.told.length
  for (const columns of [79, 60, 41, 40]) {
    await draw(null, columns)
    await it.clock.advance(100)
  }
  expect(it.told.length).toBe(before)
  await it.clock.advance(500)
  expect(it.told.length).toBe(before + 1)
  expect(it.told[before].ccstatusd).toEqual({ columns: 40 })
})

test('leaves the text of a statusLine command alone, asks for no line, and hands over nevertheless', async ($, on) => {
  const it = world(on, { settings: { statusLine: { type: 'command', command: 'mine' } } })
  const draw = drawing($, on)
  await begin($, it, draw)
  expect(await draw()).toBe(null)
  expect(await draw('theirs')).toBe('theirs')
  expect(it.told.length > 0).toBe(true)
  expect(it.told.every(document => document.ccstatusd === undefined)).toBe(true)
})

test('hands nothing over where our own statusLine command does', async ($, on) => {
  const it = world(on, { settings: { statusLine: { type: 'command', command: '/x/ccstatusd show' } } })
  const draw = drawing($, on)
  await begin($, it, draw)
  expect(await draw('ours')).toBe('ours')
  expect(it.told).toEqual([])
})

test('draws its line when the statusLine command has gone', async ($, on) => {
  const it = world(on, { settings: { statusLine: { type: 'command', command: 'mine' } } })
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  await draw('theirs')
  it.settings = {}
  await draw(null)
  await it.clock.advance(500)
  await draw(null)
  await it.clock.advance(1_000)
  expect(await draw(null)).toBe(LINE)
})

test('in mode on takes the place of a statusLine command', { options: { mode: 'on' } }, async ($, on) => {
  const it = world(on, { settings: { statusLine: { type: 'command', command: 'mine' } } })
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  expect(await draw('theirs')).toBe(LINE)
})

test('says within ten seconds that the watcher is dead, and takes it back', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  it.isUp = false
  await it.clock.advance(10_000)
  expect(await draw()).toBe(`${LINE} no watcher`)
  it.isUp = true
  const before = it.told.length
  await it.clock.advance(11_000)
  expect(await draw()).toBe(LINE)
  expect(it.told.length).toBe(before + 1)
})

test('shows the time of a line that a watcher has not drawn for long', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  await it.clock.advance(140_000)
  expect(await draw()).toBe(LINE)
  await it.clock.advance(20_000)
  expect(await draw()).toBe(`${LINE} old`)
})

test('waits for a watcher that is being started, and says nothing wrong meanwhile', async ($, on) => {
  const it = world(on, { isUp: false })
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  expect(await draw()).toBe(null)
  it.isUp = true
  await it.clock.advance(500)
  expect(await draw()).toBe(LINE)
})

test('draws what show prints where no watcher comes up', async ($, on) => {
  const it = world(on, { isUp: false })
  const draw = drawing($, on)
  await begin($, it, draw)
  await it.clock.advance(4_000)
  expect(await draw()).toBe('printed')
})

test('says that the program is missing', async ($, on) => {
  const it = world(on, { isInstalled: false })
  const draw = drawing($, on)
  await begin($, it, draw)
  expect(await draw()).toContain(MISSING)
})

test('hands over nothing of the session before as of the one that begins', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  const before = it.told.length
  await $.classic.SessionStart({ source: 'resume', session_id: 'b' } as never)
  await it.clock.advance(150)
  expect(it.told.length).toBe(before)
  it.id = 'b'
  await it.clock.advance(500)
  expect(it.told.length).toBe(before + 1)
  expect(await draw()).toBe(LINE)
})

test('draws nothing of the session before', async ($, on) => {
  const it = world(on)
  answering(it)
  const draw = drawing($, on)
  await begin($, it, draw)
  it.id = 'b'
  it.onShow = () => {}
  const { watchPaths } = await $.classic.SessionStart({ source: 'clear', session_id: 'b' } as never) as any
  expect(watchPaths).toEqual(['/s/fitted/b'])
  expect(await draw()).toBe(null)
  answering(it)
  await it.clock.advance(3_000)
  await $.session.measure({ context: { window: 1000 }, rateLimits: [], changed: ['cost'] } as never)
  await it.clock.advance(500)
  expect(await draw()).toBe(LINE)
  expect(it.told.at(-1).session_id).toBe('b')
})
