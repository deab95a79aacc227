import { test, expect } from 'claude-code/testing'
import { row } from '../hooks/row.js'

const AGENT = {
  label: 'find the flaky test', type: 'general-purpose', startTime: 1_000, model: 'claude-opus-4-8-20260101',
  effort: 'high', tokenCount: 42_000, contextWindowSize: 200_000, columns: 150,
}
const plain = (agent: object, nowMs = 124_000) => row({ ...AGENT, ...agent }, nowMs).replace(/\x1b\[\d*m/g, '')

test('a row says what the agent does, and how far it is', () => {
  expect(plain({})).toBe('find the flaky test · general-purpose · 2m03s · ctx 21% · 42k · Opus 4.8 high')
  expect(plain({ model: 'claude-haiku-5', effort: undefined })).toContain('· Haiku 5')
  expect(plain({ model: 'mine', startTime: 0, tokenCount: 0, effort: undefined })).toBe('find the flaky test · general-purpose · mine')
})

test('a row fits, and the label is what stays', () => {
  for (let columns = 1; columns < 100; columns++) expect([...plain({ columns })].length <= columns).toBe(true)
  expect(plain({ columns: 44 })).toBe('find the flaky test · general-purpose')
  expect(plain({ columns: 36 })).toBe('find the flaky test')
  expect(plain({ columns: 9 })).toBe('find the…')
  expect(plain({ columns: 12, label: '探す探す探す探す' })).toBe('探す探す探…')
})

test('a row controls no terminal', () => {
  const hostile = row({ ...AGENT, label: 'a\x1b]0;evil\x07\nb\u202e', model: '\x1b[31mm' }, 0)
  expect(/[\x00-\x1a\x1c-\x1f\x7f-\x9f\u202e]|\x1b(?!\[\d*m)|\x1b\[31m/.test(hostile)).toBe(false)
})

test('a context that is nearly full stands out', () => {
  expect(row({ ...AGENT, tokenCount: 191_000 }, 0)).toContain('\x1b[31mctx 96%')
  expect(row({ ...AGENT, tokenCount: 300_000 }, 0).includes('ctx')).toBe(false)
})
