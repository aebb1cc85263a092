import test from 'ava'
import fc from 'fast-check'
import { Backoff } from '../../ts/monitor/backoff.ts'
import {
  onRunStateEvent,
  onStatusAnswer,
  type RunState,
  UNKNOWN_RUN_STATE,
} from '../../ts/monitor/run-state.ts'

const RUNNING = { running: true, status: 'running' }
const PAUSED = { running: false, status: 'paused' }

function known(answer: { running: boolean; status: string }): RunState {
  return onStatusAnswer(UNKNOWN_RUN_STATE, 0, answer)
}

test('the first answer makes the state known', t => {
  t.is(UNKNOWN_RUN_STATE.running, undefined)
  t.like(known(RUNNING), { running: true, status: 'running', cause: 'query', atNs: undefined })
  t.like(known(PAUSED), { running: false, status: 'paused', cause: 'query', atNs: undefined })
})

test('STOP and RESUME move the state and leave their time', t => {
  const stopped = onRunStateEvent(known(RUNNING), 'STOP', 7n)
  t.like(stopped, { running: false, status: 'stopped', cause: 'STOP', atNs: 7n })
  t.like(onRunStateEvent(stopped, 'RESUME', 9n), {
    running: true,
    status: 'running',
    cause: 'RESUME',
    atNs: 9n,
  })
})

test('only the status "running" is running', t => {
  for (const status of ['inmigrate', 'prelaunch', 'suspended', 'postmigrate', 'shutdown', 'guest-panicked']) {
    t.is(known({ running: false, status }).running, false, status)
  }
})

test('no other event moves the state', t => {
  for (const name of ['SHUTDOWN', 'RESET', 'MIGRATION', 'SUSPEND', 'WAKEUP', 'POWERDOWN', 'stop', '']) {
    for (const state of [UNKNOWN_RUN_STATE, known(RUNNING), known(PAUSED)]) {
      t.is(onRunStateEvent(state, name, 1n), state, name)
    }
  }
})

test('a STOP before the answer "running" is newer than the answer', t => {
  const stopped = onRunStateEvent(UNKNOWN_RUN_STATE, 'STOP', 7n)
  t.like(onStatusAnswer(stopped, 0, RUNNING), { running: false, status: 'stopped', cause: 'STOP', atNs: 7n })
})

test('a STOP after the answer "running" is newer than the answer', t => {
  t.like(onRunStateEvent(known(RUNNING), 'STOP', 7n), { running: false, cause: 'STOP', atNs: 7n })
})

test('a RESUME before the answer "not running" is newer than the answer', t => {
  const resumed = onRunStateEvent(UNKNOWN_RUN_STATE, 'RESUME', 7n)
  t.like(onStatusAnswer(resumed, 0, PAUSED), { running: true, status: 'running', cause: 'RESUME' })
})

test('an answer that agrees with an event adds the reason and leaves the time', t => {
  const stopped = onRunStateEvent(known(RUNNING), 'STOP', 7n)
  t.like(onStatusAnswer(stopped, 0, { running: false, status: 'io-error' }), {
    running: false,
    status: 'io-error',
    cause: 'STOP',
    atNs: 7n,
  })
})

test('an answer to a question that was sent after the last event is newer than the event', t => {
  const resumed = onRunStateEvent(UNKNOWN_RUN_STATE, 'RESUME', 7n)
  t.like(onStatusAnswer(resumed, resumed.transitions, { running: false, status: 'suspended' }), {
    running: false,
    status: 'suspended',
    cause: 'query',
    atNs: undefined,
  })
})

/**
 * A VM that changes at any time, whose events reach the wire in order, and whose answers are made at one point
 * of that order and sent at a later one. RESUME is emitted before the state is set and STOP after it.
 */
test("whatever the order on the wire, the last known state is the VM's", t => {
  const step = fc.constantFrom('stop', 'resume', 'ask', 'answer', 'send')
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 40 }), (startsRunning, steps) => {
      let vmRuns = startsRunning
      let state = UNKNOWN_RUN_STATE
      let question: { askedAt: number; answer?: boolean } | undefined
      for (const now of [...steps, 'send', 'ask', 'answer', 'send'] as const) {
        if ((now === 'stop' && vmRuns) || (now === 'resume' && !vmRuns)) {
          vmRuns = now === 'resume'
          state = onRunStateEvent(state, vmRuns ? 'RESUME' : 'STOP', 1n)
        } else if (now === 'ask') question ??= { askedAt: state.transitions }
        else if (now === 'answer' && question !== undefined) question.answer ??= vmRuns
        else if (now === 'send' && question?.answer !== undefined) {
          const status = question.answer ? 'running' : 'paused'
          state = onStatusAnswer(state, question.askedAt, { running: question.answer, status })
          question = undefined
          t.is(state.running, vmRuns)
        }
      }
      t.true(state.running === vmRuns || question !== undefined)
    }),
  )
})

test('the pauses grow from 100 ms to 5 s, with jitter of a half, and start again after a reset', t => {
  const backoff = new Backoff()
  const longest = Array.from({ length: 8 }, () => backoff.next(1))
  t.deepEqual(longest, [100, 200, 400, 800, 1600, 3200, 5000, 5000])
  t.is(backoff.next(0), 2500)
  backoff.reset()
  t.is(backoff.next(0), 50)
})
