;;; ccstatusd.el --- the line of the last active session in the mode line  -*- lexical-binding: t -*-

;; Emacs: reads the line that the watcher publishes, whenever the kernel reports a new one.
;; It starts no process and has no timer. In your init file: (load "/path/to/contrib/line/ccstatusd.el")

;;; Code:

(require 'filenotify)

(defvar ccstatusd-file
  (expand-file-name
   "plain/latest"
   (or (getenv "CCSTATUSD_DIR")
       (expand-file-name "ccstatusd" (or (getenv "XDG_STATE_HOME") "~/.local/state"))))
  "The line that the watcher publishes.")

;; The mode line shows the string of a variable as it is, so nothing in it needs an escape.
(defvar ccstatusd-line "" "The line.")

(defun ccstatusd-read (&rest _)
  "Read the line, and show it."
  (setq ccstatusd-line
        (if (file-readable-p ccstatusd-file)
            (with-temp-buffer
              (insert-file-contents ccstatusd-file)
              (concat " " (replace-regexp-in-string "\n" " · " (buffer-string))))
          ""))
  (force-mode-line-update t))

(file-notify-add-watch (file-name-directory ccstatusd-file) '(change) #'ccstatusd-read)
(ccstatusd-read)
(unless (memq 'ccstatusd-line global-mode-string)
  (setq global-mode-string (append (or global-mode-string '("")) '(ccstatusd-line))))

(provide 'ccstatusd)
;;; ccstatusd.el ends here
