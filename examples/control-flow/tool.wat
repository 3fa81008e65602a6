;; The program behind every node of these examples. Each argument is a command, done one after another:
;;
;;   print TEXT        print a line
;;   warn TEXT         print a line on standard error
;;   write PATH TEXT   write a line into a new file, such as /outputs/model
;;   cat PATH          print a file
;;   copy FROM TO      copy a file
;;   sleep 1500ms      wait
;;   exit CODE         end with that exit code
;;   toss CODE         end with that exit code in one of two cases, as chance has it
;;   trap              end as a program that crashes
;;
;; A command that it does not know ends it with exit code 64, a file that it cannot open, read or write with 66.
;;
;; The module inside the manifests is this text, assembled by `make examples`, or by `wat2wasm --debug-names tool.wat`. The
;; names stay in: Bacalhau's WASM engine does not load a module without them.
(module $tool
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;;  0  number of arguments           64  what to wait for, and at 128 what came of it
  ;;  4  their size in bytes          256  the commands
  ;;  8  address and 12 length       4096  a buffer of 32 KiB
  ;; 16  bytes read or written      65536  pointers to the arguments, then the arguments, each ended by a zero byte
  ;; 20  descriptor of a file
  ;; 24  the time
  (memory (export "memory") 4)
  (data (i32.const 256) "print \00 warn \00  write \00 cat \00   copy \00  sleep \00 exit \00  toss \00  trap\00   \n")

  (func $check (param $error i32)
    (if (local.get $error) (then (call $proc_exit (i32.const 66)))))

  ;; What follows a command's word, or zero if it is another command. Words are eight bytes apart.
  (func $operand (param $command i32) (param $word i32) (result i32)
    (local.set $word (i32.add (i32.const 256) (i32.shl (local.get $word) (i32.const 3))))
    (loop $next
      (if (i32.eqz (i32.load8_u (local.get $word)))
        (then (return (local.get $command))))
      (if (i32.ne (i32.load8_u (local.get $word)) (i32.load8_u (local.get $command)))
        (then (return (i32.const 0))))
      (local.set $word (i32.add (local.get $word) (i32.const 1)))
      (local.set $command (i32.add (local.get $command) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; Where the text ends or, with a space for `stop`, its first word.
  (func $end (param $text i32) (param $stop i32) (result i32)
    (block $found
      (loop $next
        (br_if $found (i32.eqz (i32.load8_u (local.get $text))))
        (br_if $found (i32.eq (i32.load8_u (local.get $text)) (local.get $stop)))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $next)))
    (local.get $text))

  ;; Ends the text after its first word, and gives what follows.
  (func $cut (param $text i32) (result i32)
    (local $space i32)
    (local.set $space (call $end (local.get $text) (i32.const 32)))
    (if (i32.eqz (i32.load8_u (local.get $space))) (then (call $proc_exit (i32.const 64))))
    (i32.store8 (local.get $space) (i32.const 0))
    (i32.add (local.get $space) (i32.const 1)))

  (func $number (param $text i32) (result i32)
    (local $value i32)
    (block $done
      (loop $next
        (br_if $done
          (i32.gt_u (i32.sub (i32.load8_u (local.get $text)) (i32.const 48)) (i32.const 9)))
        (local.set $value
          (i32.add
            (i32.mul (local.get $value) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $text)) (i32.const 48))))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $next)))
    (local.get $value))

  (func $put (param $file i32) (param $bytes i32) (param $size i32)
    (loop $again
      (i32.store (i32.const 8) (local.get $bytes))
      (i32.store (i32.const 12) (local.get $size))
      (call $check (call $fd_write (local.get $file) (i32.const 8) (i32.const 1) (i32.const 16)))
      (local.set $bytes (i32.add (local.get $bytes) (i32.load (i32.const 16))))
      (local.set $size (i32.sub (local.get $size) (i32.load (i32.const 16))))
      (br_if $again (local.get $size))))

  ;; Writes the text as a line: its zero byte becomes the end of the line.
  (func $line (param $file i32) (param $text i32)
    (local $end i32)
    (local.set $end (call $end (local.get $text) (i32.const 0)))
    (i32.store8 (local.get $end) (i32.const 10))
    (call $put (local.get $file) (local.get $text)
      (i32.add (i32.sub (local.get $end) (local.get $text)) (i32.const 1))))

  ;; Opens an absolute path below descriptor 3, the root directory: to read it (rights 2), or to write a new file (rights 64).
  (func $open (param $path i32) (param $rights i64) (result i32)
    (local.set $path (i32.add (local.get $path) (i32.const 1)))
    (call $check (call $path_open
      (i32.const 3) (i32.const 0) (local.get $path)
      (i32.sub (call $end (local.get $path) (i32.const 0)) (local.get $path))
      (i64.eq (local.get $rights) (i64.const 64)) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 20)))
    (i32.load (i32.const 20)))

  (func $transfer (param $from i32) (param $to i32)
    (block $done
      (loop $next
        (i32.store (i32.const 8) (i32.const 4096))
        (i32.store (i32.const 12) (i32.const 32768))
        (call $check (call $fd_read (local.get $from) (i32.const 8) (i32.const 1) (i32.const 16)))
        (br_if $done (i32.eqz (i32.load (i32.const 16))))
        (call $put (local.get $to) (i32.const 4096) (i32.load (i32.const 16)))
        (br $next)))
    (call $check (call $fd_close (local.get $from))))

  (func $sleep (param $milliseconds i32)
    (i32.store (i32.const 80) (i32.const 1)) ;; the monotonic clock
    (i64.store (i32.const 88) (i64.mul (i64.extend_i32_u (local.get $milliseconds)) (i64.const 1000000)))
    (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 16))))

  ;; The parity of the clock's nanoseconds. Bacalhau gives a program the same random numbers each time.
  (func $chance (result i32)
    (call $check (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 24)))
    (i32.and (i32.wrap_i64 (i64.popcnt (i64.load (i32.const 24)))) (i32.const 1)))

  (func $do (param $command i32)
    (local $text i32) (local $rest i32) (local $file i32)
    (if (local.tee $text (call $operand (local.get $command) (i32.const 0))) ;; print
      (then (call $line (i32.const 1) (local.get $text)) (return)))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 1))) ;; warn
      (then (call $line (i32.const 2) (local.get $text)) (return)))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 2))) ;; write
      (then
        (local.set $rest (call $cut (local.get $text)))
        (local.set $file (call $open (local.get $text) (i64.const 64)))
        (call $line (local.get $file) (local.get $rest))
        (call $check (call $fd_close (local.get $file)))
        (return)))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 3))) ;; cat
      (then (call $transfer (call $open (local.get $text) (i64.const 2)) (i32.const 1)) (return)))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 4))) ;; copy
      (then
        (local.set $rest (call $cut (local.get $text)))
        (local.set $file (call $open (local.get $rest) (i64.const 64)))
        (call $transfer (call $open (local.get $text) (i64.const 2)) (local.get $file))
        (call $check (call $fd_close (local.get $file)))
        (return)))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 5))) ;; sleep
      (then (call $sleep (call $number (local.get $text))) (return)))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 6))) ;; exit
      (then (call $proc_exit (call $number (local.get $text)))))
    (if (local.tee $text (call $operand (local.get $command) (i32.const 7))) ;; toss
      (then
        (if (call $chance) (then (call $proc_exit (call $number (local.get $text)))))
        (return)))
    (if (call $operand (local.get $command) (i32.const 8)) ;; trap
      (then (unreachable)))
    (call $proc_exit (i32.const 64)))

  (func (export "_start")
    (local $argument i32)
    (call $check (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (call $check (call $args_get
      (i32.const 65536)
      (i32.add (i32.const 65536) (i32.shl (i32.load (i32.const 0)) (i32.const 2)))))
    (local.set $argument (i32.const 1)) ;; the first is the program's own name
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $argument) (i32.load (i32.const 0))))
        (call $do (i32.load (i32.add (i32.const 65536) (i32.shl (local.get $argument) (i32.const 2)))))
        (local.set $argument (i32.add (local.get $argument) (i32.const 1)))
        (br $next)))
    (call $proc_exit (i32.const 0))))
