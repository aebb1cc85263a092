/** What is understood of a handover's command line, and what is refused. */

import test from 'ava'
import { records, tapferry } from '../support/cli.ts'
import { isValid } from '../support/schema.ts'

const SOURCE = ['source', '--qmp=vm.qmp', '--to=unix:/run/ho']
const DEST = ['dest', '--qmp=vm.qmp', '--from=unix:/run/ho']

async function plan(...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await tapferry('handover', ...args, '--dry-run', '--json')
  if (status !== 0) throw new Error(stderr)
  const [line = {}] = records(stdout)
  if (!isValid('handover-lines', line)) throw new Error(`not in the schema: ${stdout}`)
  return line
}

test('the defaults of a source are those of the help', async t => {
  const { time: _, ...fields } = await plan(...SOURCE)
  t.deepEqual(fields, {
    type: 'plan',
    side: 'source',
    qmp: 'vm.qmp',
    to: 'unix:/run/ho',
    max_hold_bytes: 256 * 1024 * 1024,
    resume_timeout_ms: 60_000,
    mark: 0x3074,
    wait: false,
    persistent: false,
  })
})

test('the defaults of a destination are the same, and it is never persistent', async t => {
  const { time: _, ...fields } = await plan(...DEST)
  t.deepEqual(fields, {
    type: 'plan',
    side: 'destination',
    qmp: 'vm.qmp',
    from: 'unix:/run/ho',
    max_hold_bytes: 256 * 1024 * 1024,
    resume_timeout_ms: 60_000,
    mark: 0x3074,
    wait: false,
  })
})

const accepted: readonly (readonly [args: string[], fields: Record<string, unknown>])[] = [
  [[...SOURCE, '--in-netdev=hn0'], { netdevs: 'hn0' }],
  [[...SOURCE, '--in-netdev=hn0', '--in-netdev', 'hn1'], { netdevs: 'hn0,hn1' }],
  [
    [...SOURCE, '--max-hold=64M', '--resume-timeout=5m'],
    { max_hold_bytes: 2 ** 26, resume_timeout_ms: 300_000 },
  ],
  [[...SOURCE, '--persistent', '--wait', '--mark=7'], { persistent: true, wait: true, mark: 7 }],
  [[...SOURCE, '--report=out.json', '--netns=blue'], { report: 'out.json', netns: 'blue' }],
  [['source', '--qmp=q', '--to=tcp:[::1]:4000'], { to: 'tcp:[::1]:4000' }],
  [['source', '--qmp=q', '--to=tcp:192.0.2.1:4000', '--insecure'], { to: 'tcp:192.0.2.1:4000' }],
  [['source', '--qmp=q', '--to=unix:/run/a,,b'], { to: 'unix:/run/a,b' }],
  [['dest', '--qmp=q', '--from=tcp::4000', '--insecure'], { from: 'tcp::4000' }],
  [['dest', '--qmp=q', '--from=tcp:localhost:4000', '--out-netdev=hn0'], { netdevs: 'hn0' }],
  [
    ['source', '--qmp=q', '--to=tcp:192.0.2.1:4000', '--tls-creds=/etc/tls'],
    { to: 'tcp:192.0.2.1:4000', tls_creds: '/etc/tls' },
  ],
  [['dest', '--qmp=q', '--from=tcp::4000', '--tls-creds=/etc/tls'], { tls_creds: '/etc/tls' }],
]

for (const [args, fields] of accepted) {
  test(`is understood: handover ${args.join(' ')}`, async t => {
    t.like(await plan(...args), fields)
  })
}

const refused: readonly (readonly [args: string[], message: RegExp, hint: RegExp])[] = [
  [[], /'handover' is not all of a command/, /handover source, handover dest/],
  [['check'], /'handover check' is not all of a command/, /handover check source/],
  [['sorce'], /unknown command 'handover sorce'/, /did you mean 'tapferry handover source'/],
  [['source', '--to=unix:/a'], /--qmp is missing/, /for example/],
  [['check', 'source', '--to=unix:/a'], /--qmp is missing/, /handover check source --qmp/],
  [['check', 'dest', '--qmp=q'], /--from is missing/, /handover check dest --qmp/],
  [['source', '--qmp=q'], /--to is missing/, /--to unix:/],
  [['dest', '--qmp=q'], /--from is missing/, /--from unix:/],
  [['source', '--qmp=q', '--to=tcp:192.0.2.1:4000'], /without encryption/, /--insecure/],
  [['dest', '--qmp=q', '--from=tcp::4000'], /without encryption/, /--insecure/],
  [['check', 'source', '--qmp=q', '--to=tcp:192.0.2.1:4000'], /without encryption/, /--insecure/],
  [[...SOURCE, '--insecure'], /--insecure is for TCP/, /leave it out/],
  [[...SOURCE, '--tls-creds=/etc/tls'], /--tls-creds is for TCP/, /leave it out/],
  [
    ['dest', '--qmp=q', '--from=tcp::4000', '--tls-creds=/etc/tls', '--insecure'],
    /--tls-creds and --insecure contradict each other/,
    /leave one of them out/,
  ],
  [['dest', '--qmp=q', '--from=tcp::4000', '--tls-creds='], /'' is no directory/, /tls-creds-x509/],
  [['source', '--qmp=q', '--to=tcp::4000'], /names no host/, /localhost/],
  [['source', '--qmp=q', '--to=fd:3'], /is a descriptor/, /for example/],
  [['dest', '--qmp=q', '--from=unix:/a,server'], /has the option 'server'/, /leave it out/],
  [['source', '--qmp=q', '--to=dgram:localhost:4000'], /starts with none of unix: and tcp:$/, /for example/],
  [['source', '--qmp=q', '--to=/run/ho'], /starts with none of/, /write unix:\/run\/ho/],
  [[...SOURCE, '--in-netdev=hn0', '--in-netdev=hn0'], /'hn0' is given twice/, /once/],
  [[...SOURCE, '--max-hold=1k'], /--max-hold: invalid value '1k'/, /^$/],
  [[...SOURCE, '--resume-timeout=0'], /--resume-timeout: invalid value '0'/, /^$/],
  [[...SOURCE, '--report='], /--report: invalid value/, /^$/],
  [[...SOURCE, '-q', '-v'], /contradict each other/, /leave one of them out/],
  [[...SOURCE, '--out-netdev=hn0'], /unknown option --out-netdev/, /handover source -h/],
  [[...DEST, '--persistent'], /unknown option --persistent/, /./],
]

for (const [args, message, hint] of refused) {
  test(`is refused: handover ${args.join(' ')}`, async t => {
    const { status, stdout, stderr } = await tapferry('handover', ...args)
    const [first = '', ...rest] = stderr.trimEnd().split('\n')
    t.is(status, 2, stderr)
    t.is(stdout, '')
    t.regex(first, message)
    t.regex(rest.join('\n').trim(), hint)
  })
}
