import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'ava'
import { cleanEnv, run, TAPFERRY, tapferry } from '../support/cli.ts'

const COLOR = '\u001b['

/** Runs a shell command with a terminal for stdin, stdout and stderr. */
function onTerminal(command: string, env: NodeJS.ProcessEnv = {}) {
  return run('script', ['-qec', command, '/dev/null'], { env: { TERM: 'xterm-256color', ...env } })
}

test('there are no colours in a file or pipe', async t => {
  const { stderr } = await tapferry('run')
  t.false(stderr.includes(COLOR))
  const { stdout } = await tapferry('run', '--help')
  t.false(stdout.includes(COLOR))
})

test('there are colours on a terminal', async t => {
  const { stdout } = await onTerminal(`${TAPFERRY} run`)
  t.true(stdout.includes(`${COLOR}31m`))
})

test('NO_COLOR and --color=never and TERM=dumb each end colours on a terminal', async t => {
  for (const [command, env] of [
    [`${TAPFERRY} run`, { NO_COLOR: '1' }],
    [`${TAPFERRY} run --color=never`, {}],
    [`${TAPFERRY} run --color never`, {}],
    [`${TAPFERRY} run`, { TERM: 'dumb' }],
  ] as const) {
    const { stdout } = await onTerminal(command, env)
    t.regex(stdout, /--in-netdev is missing/)
    t.false(stdout.includes(COLOR), command)
  }
})

test('--color=always has colours in a pipe, even with NO_COLOR', async t => {
  const { stderr } = await run(TAPFERRY, ['run', '--color=always'], { env: { NO_COLOR: '1' } })
  t.true(stderr.includes(COLOR))
})

test('a reader that went away is a quiet end with status 0', async t => {
  const child = spawn(TAPFERRY, ['run', '--help'], { env: cleanEnv(), stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.destroy()
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  const [status] = await once(child, 'close')
  t.is(stderr, '')
  t.is(status, 0)
})
