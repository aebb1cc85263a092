import test from 'ava'
import { records, tapferry } from '../support/cli.ts'

const ENDS = ['--in-netdev=tapA', '--out-netdev=tapB']

/** A wrong command line, the line it must print, and the next step that must follow. */
type Wrong = readonly [args: readonly string[], message: RegExp, hint?: RegExp]

const wrong: readonly Wrong[] = [
  [[], /^no command given$/, /commands: run, netdevs, doctor; more: tapferry --help/],
  [['rn'], /^unknown command 'rn'$/, /did you mean 'tapferry run'\?/],
  [['frobnicate'], /^unknown command 'frobnicate'$/, /commands: run/],
  [['--bogus'], /^unknown option --bogus$/],
  [
    ['--in-netdev=tapA', 'run'],
    /^option --in-netdev comes after its command$/,
    /tapferry run --in-netdev=tapA/,
  ],
  [['--version', 'now'], /^unexpected argument 'now'$/],
  [['run'], /^--in-netdev is missing/, /tapferry run --in-netdev tapA --out-netdev tapB/],
  [
    ['run', '--in-netdev=tapA'],
    /^--out-netdev is missing/,
    /tapferry run --in-netdev tapA --out-netdev tapB/,
  ],
  [['run', ...ENDS, 'icmp'], /^unexpected argument 'icmp'$/, /tapferry run -h/],
  [['run', ...ENDS, '--', '--wait'], /^unexpected argument '--wait'$/],
  [['run', '--in-netdv=tapA'], /^unknown option --in-netdv$/, /did you mean --in-netdev\?/],
  [['run', '-x'], /^unknown option -x$/, /tapferry run -h/],
  [['run', '--in-netdev'], /^option --in-netdev needs a value$/],
  [['run', '--in-netdev', '--wait'], /^option --in-netdev needs a value$/],
  [['run', '--in-netdev='], /^--in-netdev: invalid value ''/],
  [['run', '--in-netdev=tap A'], /^--in-netdev: invalid value 'tap A'/],
  [['run', '--in-netdev=a', '--in-netdev=b'], /^--in-netdev is given 2 times$/, /once/],
  [['run', '--wait=1'], /^option --wait takes no value$/, /write only --wait/],
  [['run', '--no-wait'], /^unknown option --no-wait$/],
  [
    ['run', '--status=maybe'],
    /Invalid value for netfilter status, should be 'on' or 'off', not 'maybe'/,
    /--status=on/,
  ],
  [['run', '--status'], /^option --status needs a value$/],
  [['run', '--queue=up'], /^--queue: invalid value 'up', should be 'tx', 'rx' or 'all'$/],
  [['run', '--latency=none'], /^--latency: invalid value 'none', should be 'balanced' or 'low'$/],
  [
    ['run', '--enable-when-stopped=yes'],
    /^--enable-when-stopped: invalid value 'yes', should be 'on' or 'off'$/,
  ],
  [['run', '--enable-when-stopped='], /^--enable-when-stopped: invalid value ''/],
  [['run', '--color=blue'], /^--color: invalid value 'blue', should be 'auto', 'always' or 'never'$/],
  ...['0', '-1', '4294967296', '0x100000000', 'red', '1.5', ''].map(
    value =>
      [
        ['run', `--mark=${value}`],
        /^--mark: invalid value '.*', should be a number from 1 to 0xffffffff/,
      ] satisfies Wrong,
  ),
  ...['-1', '10001', '1s', '1.5', 'x', ''].map(
    value =>
      [
        ['run', `--pre-roll=${value}`],
        /^--pre-roll: invalid value '.*', should be milliseconds from 0 to 10000/,
      ] satisfies Wrong,
  ),
  ...['0', '0s', '-1', '5d', 'soon', '0.0001', '2147484', ''].map(
    value =>
      [
        ['run', `--duration=${value}`],
        /^--duration: invalid value '.*', should be a time such as/,
      ] satisfies Wrong,
  ),
  ...['-1', '5d', '0.0001', '2147484'].map(
    value =>
      [
        ['run', `--stats-interval=${value}`],
        /^--stats-interval: invalid value '.*', should be a time/,
      ] satisfies Wrong,
  ),
  ...['0', '-5', '1.5', '1e3', '9007199254740992', 'all'].map(
    value =>
      [
        ['run', `--count=${value}`],
        /^--count: invalid value '.*', should be a whole number above 0$/,
      ] satisfies Wrong,
  ),
  ...['', 'localhost:0', 'localhost:65536', 'localhost:qmp', ':4444', 'unix:', '/run/vm.qmp,server=on'].map(
    value => [['run', ...ENDS, `--qmp=${value}`], /^invalid monitor address '.*'/, /./] satisfies Wrong,
  ),
  [['run', ...ENDS, '--only-when-stopped'], /^--only-when-stopped needs --qmp/, /--qmp/],
  [
    ['run', ...ENDS, '--qmp=vm.qmp', '--only-when-stopped', '--enable-when-stopped=off'],
    /contradict each other: the gate would never open$/,
    /leave one of them out/,
  ],
  [['run', ...ENDS, '-q', '-v'], /^--quiet and --verbose contradict each other$/, /leave one of them out/],
  ...['--config=f', '--indev=c0', '--outdev=c0', '--vnet-hdr-support', '--engine=ring'].map(
    flag => [['run', ...ENDS, flag], /^unknown option --/] satisfies Wrong,
  ),
]

for (const [args, message, hint] of wrong) {
  test(`wrong usage says so in one line and ends with 2: tapferry ${args.join(' ')}`, async t => {
    const { status, stdout, stderr } = await tapferry(...args)
    t.is(status, 2)
    t.is(stdout, '')
    const [first = '', ...rest] = stderr.trimEnd().split('\n')
    t.regex(first, /^tapferry: error: /)
    t.regex(first.slice('tapferry: error: '.length), message)
    t.true(rest.length <= 1, stderr)
    if (hint) t.regex(rest[0] ?? '', hint)
  })
}

test('with --json wrong usage is an object on stdout, too', async t => {
  const { status, stdout, stderr } = await tapferry('run', '--json', '--queue=up')
  t.is(status, 2)
  t.regex(stderr, /^tapferry: error: --queue: invalid value 'up'/)
  const [record, ...more] = records(stdout)
  t.is(more.length, 0)
  t.regex(String(record?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/)
  t.like(record, { type: 'error', code: 'USAGE', exit_status: 2 })
})
