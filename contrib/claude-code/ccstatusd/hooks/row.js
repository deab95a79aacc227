// The row of a subagent: what `ccstatusd subagents` says for older versions of Claude Code.

const RESET = '\x1b[0m'
const DIM = '\x1b[2m'
const YELLOW = '\x1b[33m'
const RED = '\x1b[31m'
const MAX_NAME = 24
// What else there is leaves this much to the label if it needs that much.
const WANTED_LABEL = 24

// Claude Code lets escapes through, and others wrote these texts.
const plain = text => `${text ?? ''}`.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, ' ').trim()

// By terminal cells, as far as that can be told without a table: what is wide counts as two.
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u
const width = text => [...text].reduce((sum, it) => sum + (WIDE.test(it) ? 2 : 1), 0)

const cut = (text, most) => {
  if (width(text) <= most) return text
  const kept = [...text]
  while (kept.length && width(kept.join('')) > most - 1) kept.pop()
  return `${kept.join('').trimEnd()}…`
}

const elapsed = ms => {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = number => `${number}`.padStart(2, '0')
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`
  return `${Math.floor(seconds / 3600)}h${two(Math.floor(seconds / 60) % 60)}m`
}

const tokens = count => {
  if (count < 1000) return `${count}`
  return count < 1e6 ? `${Math.round(count / 1000)}k` : `${(count / 1e6).toFixed(1)}M`
}

// `claude-opus-4-8-20260101` is `Opus 4.8`; what is called otherwise is shown as it is.
const model = id => {
  const found = /claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)/.exec(id)
  if (!found) return cut(plain(id), MAX_NAME)
  const [, family, major, minor] = found
  return `${family[0].toUpperCase()}${family.slice(1)} ${minor ? `${major}.${minor}` : major}`
}

export const row = (agent, nowMs) => {
  const parts = []
  const add = (text, colour = DIM) => text && parts.push({ text, colour })
  if (agent.type && agent.type !== 'teammate') add(cut(plain(agent.type), MAX_NAME))
  if (agent.startTime > 0) add(elapsed(nowMs - agent.startTime))
  if (agent.contextWindowSize && agent.tokenCount > 0) {
    const share = Math.round((100 * agent.tokenCount) / agent.contextWindowSize)
    // More than fits is a sum over several requests.
    if (share <= 100) add(`ctx ${share}%`, share >= 95 ? RED : share >= 80 ? YELLOW : DIM)
  }
  if (agent.tokenCount > 0) add(tokens(agent.tokenCount))
  if (agent.model) add([model(agent.model), plain(agent.effort)].filter(Boolean).join(' '))

  const label = plain(agent.label || agent.description || agent.name)
  const room = agent.columns ?? 80
  const taken = () => parts.reduce((sum, it) => sum + width(it.text) + 3, 0)
  while (parts.length && taken() + Math.min(width(label), WANTED_LABEL) > room) parts.pop()
  const head = cut(label, Math.max(1, room - taken()))
  return head + parts.map(it => `${DIM} · ${RESET}${it.colour}${it.text}${RESET}`).join('')
}
