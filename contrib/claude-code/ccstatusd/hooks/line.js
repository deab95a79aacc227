// Draws the line that the watcher keeps for this session, and tells the watcher what only Claude
// Code knows. No process runs for a render: `ccstatusd show` runs once a turn, and once for each
// new width. It sends on what it reads from standard input, and the watcher answers with a file.

import { row } from './row.js'

// How often the watcher is looked for. One that was killed shows within this time.
const BEAT_MS = 10_000
// A watcher draws each minute while a session lives, and one that has not for so long hangs.
const OLD_MS = 150_000
// While a window is resized, each width is there for a moment only.
const RESIZED_MS = 300
// How often the file is read where Claude Code does not watch it: in a session that had begun
// before the plugin was loaded, and in the first one of all, before which there was no folder.
const UNWATCHED_MS = 2_000
// How long the watcher is waited for when a session begins: the hook may be starting it.
const START_MS = 3_000
// How long a watcher that runs may take to answer, and how often that is looked for.
const ANSWER_MS = 1_000
const LOOK_MS = 100

const MISSING = '\x1b[33mccstatusd is not installed, or not on PATH: /ccstatusd:setup\x1b[0m'

let binary, mode
// The state directory, the session, and the file of its line.
let dir, id, path
// The session that was told of last.
let told
// What the file said last, and what `show` printed, which is drawn where there is no file.
let file = null
let printed = null
let isMissing = false
let isAlive = true
let isOld = false
// Whether the settings have a `statusLine` command (undefined until they are read), and whether that
// hands over what it is told.
let hasOwn
let doesOwnTell = false
// How wide the line may be; null before the first render.
let columns = null
let effort
let hasReplied = false
let isWatched = false
let meanwhile = null
let drawn = null
let resized = null
// When the file was last written, as far as the clock has looked.
let seenMs

const draws = () => mode !== 'off' && !(mode === 'auto' && hasOwn)

const line = () => {
  if (isMissing) return MISSING
  if (!file) return printed
  if (!isAlive) return file.gone
  return isOld ? file.old : file.line
}

const refresh = $ => {
  if (line() === drawn) return
  drawn = line()
  $.ui.invalidate('ui.render')
}

const settle = async $ => {
  const home = await $.env.get('HOME')
  const absolute = it => (it?.startsWith('/') ? it : undefined)
  const state = absolute(await $.env.get('XDG_STATE_HOME')) ?? `${home}/.local/state`
  dir = absolute(await $.env.get('CCSTATUSD_DIR')) ?? `${state}/ccstatusd`
  if (binary.startsWith('~/')) binary = `${home}/${binary.slice(2)}`
}

// Draws nothing of the session before, whose id `/clear` and `/resume` change.
const point = async ($, session) => {
  if (!dir) await settle($)
  if (session === id) return
  id = session
  path = `${dir}/fitted/${id}`
  file = printed = null
  hasReplied = false
  refresh($)
}

const readSettings = async $ => {
  const own = await $.settings.read({ key: 'statusLine' }).catch(() => undefined)
  hasOwn = Boolean(own?.command)
  doesOwnTell = hasOwn && /ccstatusd['"]?\s+show/.test(own.command)
}

// Reads the file. Returns whether there is one for the present width.
const look = async $ => {
  const from = path
  const text = await $.fs.read(from).catch(() => '{}')
  if (from !== path) return false
  let found
  try { found = JSON.parse(text) } catch { return false }
  if (typeof found.line !== 'string') return false
  file = found
  refresh($)
  return found.columns === columns
}

// Whether the watcher listens, as `show` finds it out. Its socket is for datagrams, so a request
// cannot succeed, and the error tells. Where it tells nothing, the age of the file has to.
const listens = async $ => {
  const socketPath = `${dir}/notify.sock`
  const why = await $.http.fetch('http://localhost/', { socketPath }).then(() => '', it => `${it.message}`)
  return !/\b(ECONNREFUSED|ENOENT)\b/.test(why)
}

const epoch = iso => (iso ? Math.floor(Date.parse(iso) / 1000) : undefined)

// The document that Claude Code passes to a `statusLine` command, as far as a mod knows it.
const document = async $ => {
  const { context, rateLimits, cost } = await $.session.usage()
  const version = await $.session.version()
  const limits = rateLimits.map(it => [it.kind, { used_percentage: it.percentUsed, resets_at: epoch(it.resetsAt) }])
  return JSON.stringify({
    session_id: id,
    transcript_path: (await $.session.info()).transcriptPath || undefined,
    cwd: await $.session.cwd(),
    model: { id: await $.session.model() },
    version: version.base ?? version.version,
    effort: effort && { level: effort },
    cost: cost && { total_cost_usd: cost.usd },
    context_window: {
      context_window_size: context.window,
      used_percentage: context.percent,
      current_usage: context.tokens === undefined ? undefined : { input_tokens: context.tokens },
    },
    // A session without limits states none, and one that has had a reply states its cache.
    rate_limits: limits.length ? Object.fromEntries(limits) : undefined,
    prompt_cache: hasReplied ? {} : undefined,
    ccstatusd: columns && draws() ? { columns } : undefined,
  })
}

// Runs `show`, which sends on what it is given. Returns what it printed, null where it failed. Not in
// the session's directory: a relative part of PATH could lead to a program in there.
const show = async $ => {
  const stdin = await document($)
  const failed = it => ({ why: `${it.message}` })
  const ran = await $.process.run([binary, 'show'], { stdin, cwd: '/', timeoutMs: 2_000 }).catch(failed)
  isMissing = /failed to start/.test(ran.why ?? '')
  return ran.stdout || null
}

// Claude Code says that a session begins before it turns to it, on `/resume`. Until then all that it
// says is of the one before.
const turns = async $ => {
  for (let waited = 0; waited < ANSWER_MS; waited += LOOK_MS) {
    if ((await $.session.id()) === id) return true
    await $.clock.sleep(LOOK_MS)
  }
  return false
}

const comesUp = async $ => {
  for (let waited = 0; waited < START_MS; waited += LOOK_MS) {
    if (await listens($)) return true
    await $.clock.sleep(LOOK_MS)
  }
  return false
}

const answers = async $ => {
  const from = id
  for (let waited = 0; waited < ANSWER_MS && from === id; waited += LOOK_MS) {
    await $.clock.sleep(LOOK_MS)
    if (await look($)) return
  }
}

const tellOnce = async ($, isBeginning) => {
  if (!id) await point($, await $.session.id())
  await readSettings($)
  // A command knows more of the session than a mod does.
  if (doesOwnTell && !draws()) return
  const from = (told = id)
  if (!(await turns($))) return
  // Asked before: a watcher that comes up meanwhile has heard nothing.
  let isUp = await listens($)
  let text = await show($)
  if (columns && draws() && !isMissing) {
    if (!isUp && isBeginning && (await comesUp($))) {
      isUp = true
      text = await show($)
    }
    if (isUp) await answers($)
    if (from === id) isAlive = isUp
  }
  // If another session has begun meanwhile, this was about the one before.
  if (from !== id) return
  printed = text
  refresh($)
}

// One after the other, so that the last one has the last word.
let telling = Promise.resolve()
const tell = ($, isBeginning = false) => {
  telling = telling.then(() => tellOnce($, isBeginning)).catch(() => {})
}

const beat = async $ => {
  if (!draws() || !path || isMissing) return
  const was = isAlive
  isAlive = await listens($)
  const stat = await $.fs.stat(path).catch(() => null)
  isOld = stat !== null && (await $.clock.now()) - stat.mtimeMs > OLD_MS
  if (stat && stat.mtimeMs !== seenMs) await look($)
  seenMs = stat?.mtimeMs
  // A watcher that has started since knows nothing of us.
  if (isAlive && (!was || !stat)) tell($)
  refresh($)
}

// `classic.ConfigChange` would come before the settings have changed.
const takeOver = async $ => {
  await readSettings($)
  if (hasOwn || !draws()) return
  tell($)
  $.ui.invalidate('ui.render')
}

const lookMeanwhile = $ => {
  meanwhile ??= $.clock.every(UNWATCHED_MS, () => {
    if (!isWatched) return path && draws() && look($)
    meanwhile.cancel()
    meanwhile = null
  })
}

export function register(on, options) {
  binary = options.binary || 'ccstatusd'
  mode = options.mode === 'on' || options.mode === 'off' ? options.mode : 'auto'

  on('session.start', async ($, e, next) => {
    const started = await next(e)
    if (e.isInteractive && mode !== 'off') {
      $.clock.every(BEAT_MS, () => beat($))
      lookMeanwhile($)
    }
    return started
  })

  on('classic.SessionStart', async ($, e, next) => {
    const answer = await next(e)
    await point($, e.session_id)
    if (told !== id || e.source === 'compact') tell($, true)
    isWatched = await $.fs.exists(`${dir}/fitted`)
    return { ...answer, watchPaths: [...(answer?.watchPaths ?? []), path] }
  }).catch(($, e, next) => next(e))

  on('classic.FileChanged', async ($, e, next) => {
    if (e.file_path === path) {
      isWatched = true
      isOld = false
      // A watcher that starts removes what it does not know of.
      if (!(await look($)) && e.event === 'unlink') tell($)
    }
    return next(e)
  })

  on('session.measure', ($, e, next) => {
    tell($)
    return next(e)
  })

  on('classic.Stop', ($, e, next) => {
    const level = e.effort?.level
    const isNews = !hasReplied || level !== effort
    effort = level
    hasReplied = true
    if (isNews) tell($)
    return next(e)
  }).catch(($, e, next) => next(e))

  on('ui.render', { component: 'StatusLine' }, ($, e, next) => {
    const { props } = e
    // The command has printed nothing so far, or is no more.
    if (hasOwn && props.text === null) void takeOver($)
    if (!draws() || (mode === 'auto' && props.text !== null)) return next(e)
    if (columns !== props.columns) {
      const isFirst = columns === null
      columns = props.columns
      resized?.cancel()
      if (isFirst) tell($, true)
      else resized = $.clock.after(RESIZED_MS, () => tell($))
    }
    const text = line()
    return text === null ? next(e) : next({ ...e, props: { ...props, text } })
  })

  on('ui.render', { component: 'AgentRow' }, async ($, e, next) => {
    if (mode === 'off' || e.props.body !== undefined) return next(e)
    return next({ ...e, props: { ...e.props, body: row(e.props, await $.clock.now()) } })
  })
}
